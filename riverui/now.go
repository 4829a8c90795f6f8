package webui

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// now serves the page that shows everything at once: what needs somebody, five numbers, the way of the events, charts,
// consumers, templates, what happened, and what is running.
func (h *Handler) now(w http.ResponseWriter, r *http.Request) {
	v := h.view(r, "Now", "now")
	v.Done = h.done(r)
	of := h.sources.rangeNamed(r.URL.Query().Get("range"))
	add(v, "needs", "", h.needs)
	add(v, "figures", "", h.figures)
	add(v, "pipeline", "", h.pipeline)
	add(v, "charts", "", func(ctx context.Context) reading[charts] { return derived(of.series.get(ctx), drawCharts(of.Range)) })
	add(v, "consumers", "", h.consumerRows(of))
	add(v, "templates", "", h.templateRows(of))
	add(v, "feed", "", h.feed)
	add(v, "running", "", h.running)
	h.serve(w, r, v)
}

// derived makes a reading of another, whose age and error it keeps.
func derived[T, U any](of reading[T], value func(T) U) reading[U] {
	if of.At.IsZero() {
		return reading[U]{Err: of.Err}
	}
	return reading[U]{Value: value(of.Value), At: of.At, Err: of.Err}
}

// pipeline is the way of the events, and what waits at each step of it.
type pipeline struct {
	Outbox                  operate.Backlog
	Composer, Auto          gateStep
	Ready, Running, Retried operate.Count // jobs
	Emissions               operate.EmissionStatus
	Consumers, Behind       int
}

type gateStep struct {
	operate.Gate

	Parked operate.Count
}

func (h *Handler) pipeline(ctx context.Context) reading[pipeline] {
	state, consumers := h.sources.state.get(ctx), h.sources.consumers.get(ctx)
	if state.Err == nil {
		state.Err = consumers.Err
	}
	return derived(state, func(s operate.Status) pipeline {
		p := pipeline{Outbox: s.Outbox, Emissions: s.Emissions, Consumers: len(consumers.Value)}
		for _, gate := range s.Gates {
			step := gateStep{gate, parkedAt(s, gate.Gate)}
			if gate.Gate == jobs.GateComposer {
				p.Composer = step
			} else {
				p.Auto = step
			}
		}
		for _, n := range s.Jobs {
			switch n.State {
			case "available":
				p.Ready = plus(p.Ready, n.Count)
			case "running":
				p.Running = plus(p.Running, n.Count)
			case "retryable":
				p.Retried = plus(p.Retried, n.Count)
			}
		}
		for _, c := range consumers.Value {
			if result, _ := operate.JudgeConsumer(c); result != operate.HealthOK {
				p.Behind++
			}
		}
		return p
	})
}

func plus(a, b operate.Count) operate.Count {
	return operate.Count{N: a.N + b.N, More: a.More || b.More}
}

// Steps returns both gates, in the order in which jobs need them.
func (p pipeline) Steps() []gateStep { return []gateStep{p.Composer, p.Auto} }

// consumerRow is a consumer as the page shows it.
type consumerRow struct {
	subscribe.Consumer

	Result operate.Health
	State  string // in a word or two
	Says   string // what is wrong with it
	Spark  spark  // of its lag
}

// consumerShown is how many consumers the page has room for: those that need somebody come first.
const consumerShown = 7

type consumerTable struct {
	Rows []consumerRow
	All  int
}

func (h *Handler) consumerRows(of *ranged) func(context.Context) reading[consumerTable] {
	return func(ctx context.Context) reading[consumerTable] {
		consumers, lags := h.sources.consumers.get(ctx), of.lags.get(ctx)
		if consumers.Err == nil {
			consumers.Err = lags.Err
		}
		return derived(consumers, func(all []subscribe.Consumer) consumerTable { return drawConsumers(all, lagSparks(of, lags.Value)) })
	}
}

func drawConsumers(all []subscribe.Consumer, sparks map[string]spark) consumerTable {
	t := consumerTable{All: len(all)}
	all = mostBehind(all)
	for _, wanted := range []operate.Health{operate.HealthFail, operate.HealthWarn, operate.HealthOK} {
		for _, c := range all {
			if result, says := operate.JudgeConsumer(c); result == wanted && len(t.Rows) < consumerShown {
				t.Rows = append(t.Rows, consumerRow{c, result, consumerState(c), says, sparks[c.Name]})
			}
		}
	}
	return t
}

// consumerState says in a word or two how a consumer does.
func consumerState(c subscribe.Consumer) string {
	behind := c.LagEvents != nil && *c.LagEvents > 0
	switch {
	case c.State != "ok":
		return c.State
	case c.Tries > 0 && c.LastError != nil:
		return "failing"
	case c.Process == nil && behind:
		return "inactive"
	case c.Process == nil:
		return "no process"
	case behind && c.LagSeconds != nil && *c.LagSeconds > 10:
		return "behind"
	case c.DeadLetters > 0:
		return "gave up " + number(c.DeadLetters)
	default:
		return "up to date"
	}
}

// running is what the footer of the page shows.
type running struct {
	operate.Situation

	Paused         []operate.PausedQueue
	Workers, Alive int
	Versions       []string // of the workers that are alive
	Server         string   // version of PostgreSQL
	Schema         int
}

func (h *Handler) running(ctx context.Context) reading[running] {
	state, situation := h.sources.state.get(ctx), h.sources.situation.get(ctx)
	if state.Err == nil {
		state.Err = situation.Err
	}
	return derived(state, func(s operate.Status) running {
		now := running{Situation: situation.Value, Paused: s.Paused, Workers: len(s.Workers), Server: strings.Fields(s.Server + " ?")[0], Schema: s.Schema.Version}
		known := map[string]bool{}
		for _, w := range s.Workers {
			if !w.Alive {
				continue
			}
			now.Alive++
			if !known[w.Version] {
				known[w.Version] = true
				now.Versions = append(now.Versions, w.Version)
			}
		}
		return now
	})
}

// done returns what was just done, if the address names an audit line: that line, and not the address, is told.
func (h *Handler) done(r *http.Request) string {
	id, err := strconv.ParseInt(r.URL.Query().Get("done"), 10, 64)
	if err != nil || id < 1 {
		return ""
	}
	var lines []operate.AuditLine
	err = h.db().read(r.Context(), func(tx pgx.Tx) (err error) {
		lines, err = operate.Audit(r.Context(), tx, id+1, 1)
		return err
	})
	if err != nil || len(lines) == 0 || lines[0].ID != id {
		return "" // the page itself says what is wrong with the database
	}
	return auditLines(lines)[0].Text
}
