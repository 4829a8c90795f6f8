package webui

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/fleet"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// now serves the page that shows everything at once: what needs attention, five numbers, the pipeline, charts, consumers,
// templates, recent activity, and what is running.
func (h *Handler) now(w http.ResponseWriter, r *http.Request) {
	v := h.view(r, "Now", "now")
	v.fixed = http.StatusOK // a section says what cannot be shown
	of := h.sources.rangeNamed(r.URL.Query().Get("range"))
	add(v, "needs", "", h.needs)
	add(v, "figures", "", h.figures)
	add(v, "pipeline", "", h.pipeline)
	add(v, "charts", "", func(ctx context.Context) reading[charts] { return derived(of.series.get(ctx), drawCharts(of.Range)) })
	add(v, "consumers", "", h.nowConsumers(of))
	add(v, "templates", "", h.topTemplates(of))
	add(v, "feed", "", h.sources.feed.get)
	add(v, "running", "", h.running)
	h.serve(w, r, v)
}

// pipeline is the path of the events, and what waits at each step.
type pipeline struct {
	Outbox                  status.Backlog
	Composer, Auto          gateStep
	Ready, Running, Retried operate.Count // jobs
	Emissions               status.Emissions
	Consumers, Behind       int
}

type gateStep struct {
	operate.Gate

	Parked operate.Count
}

func (h *Handler) pipeline(ctx context.Context) reading[pipeline] {
	return both(h.sources.state.get(ctx), h.sources.consumers.get(ctx), func(s status.Status, consumers []subscribe.Consumer) pipeline {
		p := pipeline{Outbox: s.Outbox, Emissions: s.Emissions, Consumers: len(consumers)}
		for _, gate := range s.Gates {
			step := gateStep{gate, parkedAt(s, gate.Gate)}
			if gate.Gate == compose.GateComposer {
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
		for _, c := range consumers {
			if result, _ := status.JudgeConsumer(c); result != operate.HealthOK {
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

// consumersShown is how many consumers the page has room for.
const consumersShown = 7

type consumerTable struct {
	Rows []consumerRow
	All  int
}

func (h *Handler) nowConsumers(of *ranged) func(context.Context) reading[consumerTable] {
	return func(ctx context.Context) reading[consumerTable] {
		return both(h.sources.consumers.get(ctx), of.lags.get(ctx), func(all []subscribe.Consumer, lags history.ConsumerSeries) consumerTable {
			rows := consumerRows(all, lags)
			return consumerTable{Rows: rows[:min(len(rows), consumersShown)], All: len(rows)}
		})
	}
}

// running is the footer of the page.
type running struct {
	status.Situation

	Paused         []status.PausedQueue
	Workers, Alive int
	Versions       []string // of the workers that are alive
	Reported       bool     // the next five are known
	LanesBusy      int
	Lanes          int
	PoolUsed, Pool int
	Server         string // version of PostgreSQL
	Schema         int
}

func (h *Handler) running(ctx context.Context) reading[running] {
	fleet := h.sources.fleet.get(ctx)
	return both(h.sources.state.get(ctx), h.sources.situation.get(ctx), func(s status.Status, situation status.Situation) running {
		now := running{Situation: situation, Paused: s.Paused, Workers: len(s.Workers), Server: strings.Fields(s.Server + " ?")[0], Schema: s.Schema.Version}
		for _, w := range s.Workers {
			if !w.Alive {
				continue
			}
			now.Alive++
			if !slices.Contains(now.Versions, w.Version) {
				now.Versions = append(now.Versions, w.Version)
			}
		}
		now.report(fleet.Value)
		return now
	})
}

// report adds up what living workers report about themselves.
func (r *running) report(fleet fleet.Fleet) {
	for _, w := range fleet.Workers {
		if !w.Alive || w.Settings == nil || w.Load == nil {
			continue
		}
		r.Reported = true
		r.LanesBusy, r.Lanes = r.LanesBusy+w.Load.LanesBusy, r.Lanes+w.Settings.Lanes
		r.PoolUsed, r.Pool = r.PoolUsed+w.Load.PoolUsed, r.Pool+w.Settings.PoolSize
	}
}

// done returns the text of the audit line that the address names; "" if it names none.
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
