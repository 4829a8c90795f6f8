package webui

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
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
	add(v, "charts", "", func(ctx context.Context) reading[charts] { return derived(of.series.get(ctx), of.draw) })
	add(v, "consumers", "", func(ctx context.Context) reading[consumerTable] { return h.nowConsumers(ctx, of) })
	add(v, "templates", "", func(ctx context.Context) reading[templateTable] { return h.topTemplates(ctx, of) })
	add(v, "feed", "", h.sources.feed.get)
	add(v, "running", "", h.running)
	h.serve(w, r, v)
}

// pipeline is the path of the events, and what waits at each step.
type pipeline struct {
	Outbox            status.Backlog
	Gates             []gateStep               // in the order in which jobs need them
	Jobs              map[string]operate.Count // by their state
	Emissions         status.Emissions
	Consumers, Behind int
}

type gateStep struct {
	operate.Gate

	Parked operate.Count
}

func (h *Handler) pipeline(ctx context.Context) reading[pipeline] {
	return both(h.sources.state.get(ctx), h.sources.consumers.get(ctx), func(s status.Status, consumers []subscribe.Consumer) pipeline {
		p := pipeline{Outbox: s.Outbox, Jobs: map[string]operate.Count{}, Emissions: s.Emissions, Consumers: len(consumers)}
		for _, gate := range s.Gates {
			p.Gates = append(p.Gates, gateStep{gate, parkedAt(s, gate.Gate)})
		}
		for _, n := range s.Jobs {
			p.Jobs[n.State] = plus(p.Jobs[n.State], n.Count)
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

// consumersShown is how many consumers the page has room for.
const consumersShown = 7

type consumerTable struct {
	Rows []consumerRow
	All  int
}

func (h *Handler) nowConsumers(ctx context.Context, of *ranged) reading[consumerTable] {
	return both(h.sources.consumers.get(ctx), of.lags.get(ctx), func(all []subscribe.Consumer, lags history.ConsumerSeries) consumerTable {
		rows := consumerRows(all, lags)
		return consumerTable{Rows: rows[:min(len(rows), consumersShown)], All: len(rows)}
	})
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
	workers := h.sources.fleet.get(ctx).Value.Workers
	return both(h.sources.state.get(ctx), h.sources.situation.get(ctx), func(s status.Status, situation status.Situation) running {
		now := running{Situation: situation, Paused: s.Paused, Workers: len(s.Workers), Server: strings.Fields(s.Server + " ?")[0], Schema: s.Schema.Version}
		for _, w := range s.Workers {
			if w.Alive {
				now.Alive++
				now.Versions = append(now.Versions, w.Version)
			}
		}
		slices.Sort(now.Versions)
		now.Versions = slices.Compact(now.Versions)
		for _, w := range workers {
			if w.Alive && w.Settings != nil && w.Load != nil {
				now.Reported = true
				now.LanesBusy, now.Lanes = now.LanesBusy+w.Load.LanesBusy, now.Lanes+w.Settings.Lanes
				now.PoolUsed, now.Pool = now.PoolUsed+w.Load.PoolUsed, now.Pool+w.Settings.PoolSize
			}
		}
		return now
	})
}

// done returns the text of the audit line that the address names; "" if it names none.
func (h *Handler) done(r *http.Request) string {
	id, err := strconv.ParseInt(r.URL.Query().Get("done"), 10, 64)
	if err != nil || id < 1 {
		return ""
	}
	lines, err := snapshot(onPrimary(r.Context()), h.db(), func(ctx context.Context, tx pgx.Tx) ([]operate.AuditLine, error) {
		return operate.Audit(ctx, tx, id+1, 1)
	})
	if err != nil || len(lines) == 0 || lines[0].ID != id {
		return "" // the page itself says what is wrong with the database
	}
	return auditLines(lines)[0].Text
}

// feedShown is how many lines the page has room for.
const feedShown = 8

// feedLine is a change by an operator, or events that ended badly.
type feedLine struct {
	At   time.Time
	Text string
	Path string // the list that explains it
	Bad  bool   // an event ended badly
}

// readFeed returns changes by operators and events that ended badly, newest first.
func readFeed(ctx context.Context, tx pgx.Tx) ([]feedLine, error) {
	audit, err := operate.Audit(ctx, tx, 0, feedShown)
	if err != nil {
		return nil, err
	}
	failures, err := status.RecentFailures(ctx, tx, feedShown)
	if err != nil {
		return nil, err
	}
	var lines []feedLine
	for _, line := range auditLines(audit) {
		lines = append(lines, feedLine{At: line.At, Text: line.Text, Path: "/audit"})
	}
	for _, f := range failures {
		lines = append(lines, feedLine{At: f.At, Text: failureText(f), Path: failurePath(f), Bad: true})
	}
	slices.SortStableFunc(lines, func(a, b feedLine) int { return b.At.Compare(a.At) })
	return lines[:min(len(lines), feedShown)], nil
}

func failureText(f status.Failure) string {
	n := operate.Count{N: f.Count, More: f.More}
	if f.Consumer != "" {
		return fmt.Sprintf("%s gave up %s", f.Consumer, n.Of("event", "events"))
	}
	text := n.Of("dead letter", "dead letters") + " of " + f.Status
	if f.Actor != "" {
		text += " from " + f.Actor
	}
	return text
}

func failurePath(f status.Failure) string {
	if f.Consumer != "" {
		return "/consumers/" + url.PathEscape(f.Consumer)
	}
	return "/dead-letters?status=" + url.QueryEscape(f.Status)
}
