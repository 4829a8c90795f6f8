package webui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/fleet"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/jobs"
)

// fleetPart has the workers as the page shows them.
type fleetPart struct {
	Workers  []fleetRow
	Alive    int
	Missing  int64    // fewer than the most that were alive in the last hour
	Versions []string // of the living workers, if they are not all alike: "1.2.3 (2 workers)"
}

type fleetRow struct {
	fleet.Worker

	Skewed bool // its version is not that of the worker that started last
}

func fleetOf(all fleet.Fleet) fleetPart {
	var part fleetPart
	var newest fleet.Worker
	count := map[string]int{}
	for _, w := range all.Workers {
		if !w.Alive {
			continue
		}
		part.Alive++
		count[w.Version]++
		if newest.StartedAt.Before(w.StartedAt) {
			newest = w
		}
	}
	if all.Peak != nil {
		part.Missing = max(0, *all.Peak-int64(part.Alive))
	}
	for version, n := range count {
		if len(count) > 1 {
			part.Versions = append(part.Versions, fmt.Sprintf("%s (%s)", version, operate.Count{N: int64(n)}.Of("worker", "workers")))
		}
	}
	slices.Sort(part.Versions)
	for _, w := range all.Workers {
		part.Workers = append(part.Workers, fleetRow{w, w.Alive && w.Version != newest.Version})
	}
	slices.SortStableFunc(part.Workers, func(a, b fleetRow) int { return trueFirst(!a.Alive, !b.Alive) }) // the silent first
	return part
}

// Leading returns what this worker does for all workers.
func (w fleetRow) Leading() string { return strings.Join(w.Leads, ", ") }

// queueRow is a queue as the page shows it.
type queueRow struct {
	operate.Queue

	Counts []stateCount
}

type stateCount struct {
	State string
	operate.Count
}

// jobStates are the states of jobs in the order in which a job passes them.
var jobStates = []rivertype.JobState{
	rivertype.JobStateScheduled, rivertype.JobStateAvailable, rivertype.JobStateRunning, rivertype.JobStateRetryable,
	rivertype.JobStateCompleted, rivertype.JobStateCancelled, rivertype.JobStateDiscarded,
}

func queueRows(queues []operate.Queue, state status.Status) []queueRow {
	rows := make([]queueRow, 0, len(queues))
	for _, queue := range queues {
		row := queueRow{Queue: queue}
		for _, s := range jobStates {
			n := stateCount{State: string(s)}
			for _, c := range state.Jobs {
				if c.Queue == queue.Name && c.State == n.State {
					n.Count = c.Count
				}
			}
			row.Counts = append(row.Counts, n)
		}
		rows = append(rows, row)
	}
	return rows
}

// Waiting returns the number of jobs that a worker could take now.
func (q queueRow) Waiting() operate.Count {
	for _, c := range q.Counts {
		if c.State == string(rivertype.JobStateAvailable) {
			return c.Count
		}
	}
	return operate.Count{}
}

// Command returns the command that pauses or resumes the queue; "" if there is none.
func (q queueRow) Command() string {
	switch {
	case q.Name != jobs.QueueScaleout:
		return ""
	case q.PausedAt != nil:
		return "iuworker scaleout resume"
	default:
		return "iuworker scaleout pause"
	}
}

func (h *Handler) workersPage(w http.ResponseWriter, r *http.Request) {
	v := h.view(r, "Workers", "workers")
	v.Done = h.done(r)
	add(v, "workers", "Processes", func(ctx context.Context) reading[fleetPart] { return derived(h.sources.fleet.get(ctx), fleetOf) })
	add(v, "queues", "Queues", func(ctx context.Context) reading[[]queueRow] {
		return both(h.sources.queues.get(ctx), h.sources.state.get(ctx), queueRows)
	})
	h.serve(w, r, v)
}

type queuePage struct {
	page
	queueRow

	Pause bool // what is asked for
}

// Already reports whether the queue is as it is asked to be.
func (p *queuePage) Already() bool { return p.Pause == (p.PausedAt != nil) }

// queueAsked reads which queue a request is about, and whether to pause it; false if it has said what is wrong.
func (h *Handler) queueAsked(w http.ResponseWriter, r *http.Request, to string) (queue string, pause, ok bool) {
	queue = r.PathValue("queue")
	if queue != jobs.QueueEvents && queue != jobs.QueueScaleout {
		h.say(w, r, http.StatusNotFound, "there is no queue %s: there are %s and %s", printable(queue), jobs.QueueEvents, jobs.QueueScaleout)
		return queue, false, false
	}
	if to != "pause" && to != "resume" {
		h.say(w, r, http.StatusBadRequest, "say whether to pause or to resume the queue")
		return queue, false, false
	}
	return queue, to == "pause", true
}

// askQueue says what pausing or resuming a queue would do, and asks for a confirmation.
func (h *Handler) askQueue(w http.ResponseWriter, r *http.Request) {
	queue, pause, ok := h.queueAsked(w, r, r.URL.Query().Get("to"))
	if !ok {
		return
	}
	state, err := status.Read(r.Context(), h.db())
	if err == nil {
		err = h.db().read(r.Context(), func(tx pgx.Tx) error {
			queues, err := operate.Queues(r.Context(), tx)
			for _, row := range queueRows(queues, state) {
				if row.Name == queue {
					p := &queuePage{page: h.page(r, "Resume the queue "+queue), queueRow: row, Pause: pause}
					if pause {
						p.Title = "Pause the queue " + queue
					}
					h.render(w, r, http.StatusOK, "queue.html", p)
				}
			}
			return err
		})
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

// setQueue pauses or resumes the queue of an address.
func (h *Handler) setQueue(w http.ResponseWriter, r *http.Request) {
	if !h.form(w, r) {
		return
	}
	if queue, pause, ok := h.queueAsked(w, r, r.PostForm.Get("to")); ok {
		h.pauseQueue(w, r, queue, pause, "workers")
	}
}

// pauseQueue pauses or resumes a queue, and goes back to a page. One that is so already is left alone.
func (h *Handler) pauseQueue(w http.ResponseWriter, r *http.Request, queue string, pause bool, back string) {
	by := h.operator(r)
	err := by.PauseQueue(r.Context(), queue, pause)
	switch {
	case errors.Is(err, operate.ErrNoQueue):
		h.say(w, r, http.StatusConflict, "nothing was changed: no worker has served the queue %s in the last day; start one first: iuworker work", queue)
	case err != nil:
		h.fail(w, r, err)
	default:
		h.back(w, r, back, by.auditID())
	}
}

// settingsPage has the settings of this process.
type settingsPage struct {
	SignIn          bool
	Operators       int
	Viewers         int
	EventsTokens    int
	Base            string
	Environment     string
	Events, Metrics bool
	Database        string
	Version         string
}

func (h *Handler) ownSettings() settingsPage {
	own := settingsPage{
		SignIn: h.cfg.Credentials != nil, Base: cmp.Or(h.cfg.BasePath, "/"), Environment: h.cfg.Environment,
		Events: h.cfg.Events != nil, Metrics: h.cfg.Metrics != nil,
		Database: databaseOf(h.cfg.Pool) + ", user " + h.cfg.Pool.Config().ConnConfig.User, Version: h.cfg.Version,
	}
	if h.cfg.Credentials != nil {
		own.Operators, own.Viewers = h.cfg.Credentials.count()
	}
	if h.cfg.EventsTokens != nil {
		own.EventsTokens = len(h.cfg.EventsTokens.current().sums)
	}
	return own
}

func (h *Handler) settingsPage(w http.ResponseWriter, r *http.Request) {
	v := h.view(r, "Settings", "settings")
	add(v, "database", "Settings of the installation", h.sources.settings.get)
	add(v, "kept", "Retention", h.sources.kept.get)
	add(v, "workers", "Settings of the workers", h.sources.fleet.get)
	add(v, "pages", "These pages", func(context.Context) reading[settingsPage] { return fresh(h.ownSettings(), nil) })
	h.serve(w, r, v)
}

// setTime returns a length of time in seconds in the words of its flag.
func setTime(s any) string {
	v, known := given[float64](s)
	if !known {
		return "not known"
	}
	d := time.Duration(v * float64(time.Second)).Round(time.Second)
	const day = 24 * time.Hour
	switch {
	case v < 0:
		return "forever"
	case d >= day && d%day == 0:
		return operate.Count{N: int64(d / day)}.Of("day", "days")
	case d >= time.Hour && d%time.Hour == 0:
		return operate.Count{N: int64(d / time.Hour)}.Of("hour", "hours")
	default:
		return d.String()
	}
}
