package webui

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// How long the parts of the overview are kept; see cached.
const (
	keepState   = time.Second
	keepRecent  = 5 * time.Second
	keepSummary = 30 * time.Second
	keepHealth  = 10 * time.Second

	recentRows   = 15
	templateRows = 50
	auditRows    = 10
)

// sections of the overview, in their order; each is a template "section-" and its id, and is sent anew where it changed.
var sections = []string{
	"alerts", "gates", "flow", "jobs", "activity", "deadletters", "announced", "consumers", "workers", "core", "templates",
	"instances", "audit",
}

// sources are what the overview is made of, shared by all who look at it.
type sources struct {
	state     cached[operate.Status]
	consumers cached[[]subscribe.Consumer]
	history   cached[operate.Series]
	core      cached[operate.ConformanceReport]
	templates cached[[]operate.TemplateUse]
	instances cached[[]operate.RecentInstance]
	audit     cached[[]operate.AuditLine]
	health    cached[operate.DoctorReport]
	scaleouts operate.ScaleoutMeter
}

func newSources(cfg Config) *sources {
	db := limited{cfg.Pool}
	return &sources{
		health: cached[operate.DoctorReport]{keep: keepHealth, read: func(ctx context.Context) (operate.DoctorReport, error) {
			return operate.Doctor(ctx, operate.DoctorConfig{
				Pool: cfg.Pool, Direct: cfg.Direct, PoolSize: int(cfg.Pool.Config().MaxConns), Explain: func(err error) string {
					_, sentence := explain(err)
					return sentence
				},
			}), nil
		}},
		state: cached[operate.Status]{keep: keepState, read: func(ctx context.Context) (operate.Status, error) {
			return operate.ReadStatus(ctx, db)
		}},
		consumers: source(db, keepState, func(ctx context.Context, tx pgx.Tx) ([]subscribe.Consumer, error) {
			return subscribe.ListConsumers(ctx, tx)
		}),
		history: source(db, keepRecent, func(ctx context.Context, tx pgx.Tx) (operate.Series, error) {
			return operate.History(ctx, tx, time.Hour)
		}),
		core: source(db, keepSummary, func(ctx context.Context, tx pgx.Tx) (operate.ConformanceReport, error) {
			return operate.Conformance(ctx, tx)
		}),
		templates: source(db, keepSummary, func(ctx context.Context, tx pgx.Tx) ([]operate.TemplateUse, error) {
			return operate.TemplateUses(ctx, tx, templateRows)
		}),
		instances: source(db, keepRecent, func(ctx context.Context, tx pgx.Tx) ([]operate.RecentInstance, error) {
			return operate.RecentInstances(ctx, tx, recentRows)
		}),
		audit: source(db, keepState, func(ctx context.Context, tx pgx.Tx) ([]operate.AuditLine, error) {
			return operate.Audit(ctx, tx, 0, auditRows)
		}),
	}
}

func source[T any](db limited, keep time.Duration, read func(context.Context, pgx.Tx) (T, error)) cached[T] {
	return cached[T]{keep: keep, read: func(ctx context.Context) (answer T, err error) {
		err = db.read(ctx, func(tx pgx.Tx) (err error) {
			answer, err = read(ctx, tx)
			return err
		})
		return answer, err
	}}
}

// part is something to show, or the sentence that says why it cannot be shown.
type part[T any] struct {
	Value T
	Error string
}

func show[T any](ctx context.Context, c *cached[T], logger *slog.Logger) part[T] {
	got := c.get(ctx)
	if got.Err != nil {
		logger.DebugContext(ctx, "Pages: cannot read a part of the overview", slog.String("error", redact(got.Err.Error())))
		_, sentence := explain(got.Err)
		return part[T]{Error: sentence}
	}
	return part[T]{Value: got.Value}
}

// overview is what the operators' page shows.
type overview struct {
	page
	Sections  []string
	NotReady  string
	State     part[operate.Status]
	Consumers part[[]subscribe.Consumer]
	Core      part[operate.ConformanceReport]
	Templates part[[]operate.TemplateUse]
	Instances part[[]operate.RecentInstance]
	Audit     part[[]auditLine]
	History   part[operate.Series]
	Charts    []chart
}

func (h *Handler) overview(r *http.Request) *overview {
	ctx, logger := r.Context(), h.cfg.Logger
	o := &overview{
		page:      h.page(r, "Now"),
		Sections:  sections,
		State:     show(ctx, &h.sources.state, logger),
		Consumers: show(ctx, &h.sources.consumers, logger),
		Core:      show(ctx, &h.sources.core, logger),
		Templates: show(ctx, &h.sources.templates, logger),
		Instances: show(ctx, &h.sources.instances, logger),
	}
	o.History = show(ctx, &h.sources.history, logger)
	o.Charts = []chart{eventsChart("events-chart", o.History.Value), latencyChart("latency-chart", o.History.Value)}
	audit := show(ctx, &h.sources.audit, logger)
	o.Audit = part[[]auditLine]{Value: auditLines(audit.Value), Error: audit.Error}
	if err := h.probes.check(ctx); err != nil {
		o.NotReady = readyReason(err)
	}
	return o
}

func (h *Handler) home(w http.ResponseWriter, r *http.Request) {
	o := h.overview(r)
	o.Done, o.Live = h.done(r), h.at("live")
	h.render(w, r, http.StatusOK, "overview.html", o)
}

// section answers one section as HTML.
func (o *overview) section(id string) (string, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "section-"+id, o); err != nil {
		return "", fmt.Errorf("write section %s: %w", id, err)
	}
	return b.String(), nil
}

// Parked answers how many jobs wait for a gate; nil for none.
func (o *overview) Parked(gate jobs.Gate) *operate.Count {
	if parked := parkedAt(o.State.Value, gate); parked.N > 0 {
		return &parked
	}
	return nil
}

// Alive reports whether any worker is.
func (o *overview) Alive() bool {
	return slices.ContainsFunc(o.State.Value.Workers, func(w operate.WorkerStatus) bool { return w.Alive })
}

// jobRow is a queue's row of the table of jobs.
type jobRow struct {
	Queue  string
	Counts []operate.Count
}

// JobStates answers the columns of the table of jobs.
func (o *overview) JobStates() []rivertype.JobState {
	return []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStateRunning, rivertype.JobStateScheduled, rivertype.JobStateRetryable,
		rivertype.JobStateCompleted, rivertype.JobStateCancelled, rivertype.JobStateDiscarded,
	}
}

// JobTable answers the rows of the table of jobs.
func (o *overview) JobTable() []jobRow {
	var table []jobRow
	for _, queue := range []string{jobs.QueueEvents, jobs.QueueScaleout} {
		row := jobRow{Queue: queue, Counts: make([]operate.Count, len(o.JobStates()))}
		for _, n := range o.State.Value.Jobs {
			if i := slices.Index(o.JobStates(), rivertype.JobState(n.State)); n.Queue == queue && i >= 0 {
				row.Counts[i] = n.Count
			}
		}
		table = append(table, row)
	}
	return table
}

// done answers what was just done, where the address names an audit line: that, and not the address, is told.
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
