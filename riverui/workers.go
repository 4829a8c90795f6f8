package webui

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

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
	newest, count := "", map[string]int{} // versions
	for _, w := range all.Workers {       // oldest first
		if w.Alive {
			part.Alive++
			count[w.Version]++
			newest = w.Version
		}
	}
	if all.Peak != nil {
		part.Missing = max(0, *all.Peak-int64(part.Alive))
	}
	for _, version := range slices.Sorted(maps.Keys(count)) {
		if len(count) > 1 {
			part.Versions = append(part.Versions, fmt.Sprintf("%s (%s)", version, operate.Plural(count[version], "worker", "workers")))
		}
	}
	for _, w := range all.Workers {
		part.Workers = append(part.Workers, fleetRow{w, w.Alive && w.Version != newest})
	}
	slices.SortStableFunc(part.Workers, func(a, b fleetRow) int { return trueFirst(!a.Alive, !b.Alive) }) // the silent first
	return part
}

// queueRow is a queue as the page shows it.
type queueRow struct {
	operate.Queue

	Counts  []status.JobCount // by state
	Waiting operate.Count     // jobs that a worker could take now
}

// jobStates are the states of jobs in the order in which a job passes them.
var jobStates = []rivertype.JobState{
	rivertype.JobStateScheduled, rivertype.JobStateAvailable, rivertype.JobStateRunning, rivertype.JobStateRetryable,
	rivertype.JobStateCompleted, rivertype.JobStateCancelled, rivertype.JobStateDiscarded,
}

func queueRows(queues []operate.Queue, state status.Status) []queueRow {
	rows := make([]queueRow, len(queues))
	for i, queue := range queues {
		rows[i].Queue = queue
		for _, s := range jobStates {
			n := status.JobCount{State: string(s)}
			for _, c := range state.Jobs {
				if c.Queue == queue.Name && c.State == n.State {
					n.Count = c.Count
				}
			}
			rows[i].Counts = append(rows[i].Counts, n)
			if s == rivertype.JobStateAvailable {
				rows[i].Waiting = n.Count
			}
		}
	}
	return rows
}

// Command returns the command that pauses or resumes the queue; "" if there is none.
func (q queueRow) Command() string { return queueCommand(q.Name, q.PausedAt == nil) }

// queueCommand returns the command that pauses or resumes a queue; "" if there is none.
func queueCommand(queue string, pause bool) string {
	switch {
	case queue != jobs.QueueScaleout:
		return ""
	case pause:
		return "iuworker scaleout pause"
	default:
		return "iuworker scaleout resume"
	}
}

func (h *Handler) workersPage(r *http.Request) (*view, error) {
	v := h.view(r, "Workers", "workers")
	add(v, "workers", "Processes", func(ctx context.Context) reading[fleetPart] { return derived(h.sources.fleet.get(ctx), fleetOf) })
	add(v, "queues", "Queues", func(ctx context.Context) reading[[]queueRow] {
		return both(h.sources.queues.get(ctx), h.sources.state.get(ctx), queueRows)
	})
	return v, nil
}

type queuePage struct {
	page
	queueRow

	Pause bool // what is asked for
}

// Already reports whether the queue is as it is asked to be.
func (p *queuePage) Already() bool { return p.Pause == (p.PausedAt != nil) }

// queueAsked returns the queue that a request is about, and whether to pause it.
func queueAsked(r *http.Request) (queue string, pause bool, err error) {
	queue = r.PathValue("queue")
	if queue != jobs.QueueEvents && queue != jobs.QueueScaleout {
		return queue, false, refuse(http.StatusNotFound, "there is no queue %s: there are %s and %s", printable(queue), jobs.QueueEvents, jobs.QueueScaleout)
	}
	pause, err = either(r, "pause", "resume", "the queue")
	return queue, pause, err
}

// askQueue shows what pausing or resuming a queue would do.
func (h *Handler) askQueue(r *http.Request) (string, confirmPage, error) {
	queue, pause, err := queueAsked(r)
	if err != nil {
		return "", nil, err
	}
	state, err := status.Read(r.Context(), h.db())
	if err != nil {
		return "", nil, err
	}
	queues, err := snapshot(r.Context(), h.db(), operate.Queues)
	p := &queuePage{page: h.page(r, "Resume the queue "+queue), queueRow: queueRow{Queue: operate.Queue{Name: queue}}, Pause: pause}
	if pause {
		p.Title = "Pause the queue " + queue
	}
	for _, row := range queueRows(queues, state) {
		if row.Name == queue {
			p.queueRow = row
		}
	}
	return "queue.html", p, err
}

// setQueue pauses or resumes a queue.
func (h *Handler) setQueue(r *http.Request, by *operator) (string, error) {
	queue, pause, err := queueAsked(r)
	if err != nil {
		return "", err
	}
	return "workers", pauseQueue(r, by, queue, pause)
}

// pauseQueue pauses or resumes a queue. A queue that is already as asked is left alone.
func pauseQueue(r *http.Request, by *operator, queue string, pause bool) error {
	err := by.PauseQueue(r.Context(), queue, pause)
	if errors.Is(err, operate.ErrNoQueue) {
		return refuse(http.StatusConflict,
			"nothing was changed: no worker has served the queue %s in the last day; start one first: iuworker work", queue)
	}
	return err
}

// ownSettings are the settings of this process that the frame of a page does not have.
type ownSettings struct {
	SignIn             bool
	Operators, Viewers int
	EventsTokens       int
	DatabaseUser       string
}

func (h *Handler) ownSettings() ownSettings {
	own := ownSettings{SignIn: h.cfg.Credentials != nil, DatabaseUser: h.cfg.Pool.Config().ConnConfig.User}
	if h.cfg.Credentials != nil {
		own.Operators, own.Viewers = h.cfg.Credentials.count()
	}
	if h.cfg.EventsTokens != nil {
		own.EventsTokens = len(h.cfg.EventsTokens.current().sums)
	}
	return own
}

func (h *Handler) settingsPage(r *http.Request) (*view, error) {
	v := h.view(r, "Settings", "settings")
	add(v, "database", "Settings of the installation", h.sources.settings.get)
	add(v, "kept", "Retention", h.sources.kept.get)
	add(v, "workers", "Settings of the workers", h.sources.fleet.get)
	add(v, "pages", "These pages", func(context.Context) reading[ownSettings] { return fresh(h.ownSettings(), nil) })
	return v, nil
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
