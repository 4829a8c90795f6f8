package webui

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// need is one thing that needs an operator.
type need struct {
	Bad     bool       // act now; otherwise soon
	Text    string     // what it is
	Did     string     // what happened at Since
	Since   *time.Time // since when; nil: not known
	Who     *string    // did it
	Button  button
	Command string
}

// button leads to the page that fixes something.
type button struct {
	Path, Label string
	Operator    bool // only operators can use it
}

var openHealth = button{Path: "/health", Label: "Open health"}

// openCheck leads to a check of the doctor.
func openCheck(name string) button {
	return button{Path: "/health#" + url.PathEscape(name), Label: "Open check"}
}

// needs is everything that needs an operator, the worst first.
type needs struct {
	Setup  []setupStep // nil: the installation is in use
	All    []need
	Checks int // how many checks there are
}

// needsShown is how many lines the page has room for.
const needsShown = 3

// First returns the lines that are shown.
func (n needs) First() []need { return n.All[:min(len(n.All), needsShown)] }

// Rest returns how many more there are.
func (n needs) Rest() int { return len(n.All) - len(n.First()) }

// setupStep is something that a new installation needs.
type setupStep struct {
	Done    bool
	Text    string
	Button  button
	Command string
}

// needs judges the readings that all pages share.
func (h *Handler) needs(ctx context.Context) reading[needs] {
	state := h.sources.state.get(ctx)
	if state.At.IsZero() && schemaMissing(state.Err) {
		return fresh(needs{Setup: setupSteps(facts{})}, nil)
	}
	situation, consumers := h.sources.situation.get(ctx), h.sources.consumers.get(ctx)
	health := h.sources.health.soon(ctx, firstPaint) // the checks may take seconds
	ready := h.sources.ready.get(ctx)
	if state.Err == nil {
		state.Err = errors.Join(situation.Err, consumers.Err)
	}
	return derived(state, func(s status.Status) needs {
		return facts{
			migrated: true, status: s, situation: situation.Value, consumers: consumers.Value, report: health.Value, notReady: ready.Value,
		}.judge()
	})
}

func schemaMissing(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{pgerrcode.UndefinedTable, pgerrcode.InvalidSchemaName, pgerrcode.UndefinedFunction}, pgErr.Code)
}

// facts are what the needs are derived from.
type facts struct {
	migrated  bool
	status    status.Status
	situation status.Situation
	consumers []subscribe.Consumer
	report    doctor.Report
	notReady  string // why this worker is not ready
}

// inUse is how many events an installation has announced when it no longer needs the steps of a set-up.
const inUse = 1000

func (f facts) judge() needs {
	n := needs{Checks: len(f.report.Checks)}
	if steps := setupSteps(f); f.status.Emissions.LastPosition < inUse && slices.ContainsFunc(steps, func(s setupStep) bool { return !s.Done }) {
		n.Setup = steps
	}
	told := map[string]bool{"connection": true} // checks that something else reports better; the banner reports the connection
	for _, judged := range []struct {
		check string
		whole bool // found has all that the check reports, and is newer
		found []need
	}{
		{"workers", false, f.workers(n.Setup != nil)},
		{"event type", false, f.announcing()},
		{"gates", true, f.gates(n.Setup != nil)},
		{"dead letters", true, f.deadLetters()},
		{"consumers", true, f.consumersBehind()},
		{"queues", true, f.queues()},
	} {
		n.All = append(n.All, judged.found...)
		told[judged.check] = judged.whole || len(judged.found) > 0 || n.Setup != nil
	}
	for _, check := range f.report.Checks {
		if told[check.Name] || check.Result != operate.HealthFail && check.Result != operate.HealthWarn {
			continue
		}
		found := need{
			Bad: check.Result == operate.HealthFail, Text: check.Name + ": " + check.Says, Command: check.Next, Button: openCheck(check.Name),
		}
		if mend, ok := mendings[check.Name]; ok {
			found.Button = mend
		}
		n.All = append(n.All, found)
	}
	slices.SortStableFunc(n.All, func(a, b need) int { return trueFirst(a.Bad, b.Bad) })
	return n
}

// trueFirst compares two flags: one that is set sorts first.
func trueFirst(a, b bool) int {
	if a == b {
		return 0
	}
	if a {
		return -1
	}
	return 1
}

func (f facts) alive() bool {
	return slices.ContainsFunc(f.status.Workers, func(w status.Worker) bool { return w.Alive })
}

// workers reports why nothing is composed: there is no worker, or this one is not ready.
func (f facts) workers(fresh bool) []need {
	switch {
	case !f.alive() && !fresh:
		return []need{{Bad: true, Text: "no worker is alive: nothing is composed", Command: "iuworker work", Button: mendings["workers"]}}
	case f.alive() && f.notReady != "":
		return []need{{Bad: true, Text: "this worker is not ready: " + f.notReady, Command: "iuworker doctor", Button: openHealth}}
	default:
		return nil
	}
}

func (f facts) announcing() (found []need) {
	if f.status.Emissions.Held {
		waiting := f.status.Emissions.Waiting
		found = append(found, need{
			Bad: true, Text: "nothing is announced: the event type is not active; " + waiting.Of("event waits", "events wait"),
			Did: "the oldest", Since: waiting.OldestAt, Button: openCheck("event type"), Command: f.next("event type"),
		})
	}
	for _, held := range f.status.Held {
		text := held.Of("job is", "jobs are") + " held back: " + held.Reason
		found = append(found, need{Bad: true, Text: text, Command: "iuworker doctor", Button: openHealth})
	}
	return found
}

// next returns the command that the doctor names for a check.
func (f facts) next(check string) string {
	i := slices.IndexFunc(f.report.Checks, func(c doctor.Check) bool { return c.Name == check })
	if i < 0 {
		return ""
	}
	return f.report.Checks[i].Next
}

// gates reports the closed gates. In a new installation they are a step of the set-up, unless jobs are parked.
func (f facts) gates(fresh bool) (found []need) {
	for _, gate := range f.status.Gates {
		parked := parkedAt(f.status, gate.Gate)
		if gate.Open || fresh && parked.N == 0 {
			continue
		}
		n := need{
			Bad: parked.N > 0, Text: fmt.Sprintf("the gate %s is closed: no job is parked", gate.Gate),
			Did: "closed", Since: gate.UpdatedAt, Who: gate.UpdatedBy,
			Button: openGate(gate.Gate, "Open gate…"), Command: gate.Gate.OpenCommand(),
		}
		if parked.N > 0 {
			n.Text = fmt.Sprintf("the gate %s is closed: %s parked", gate.Gate, parked.Of("job is", "jobs are"))
		}
		found = append(found, n)
	}
	return found
}

func (f facts) queues() (found []need) {
	for _, queue := range f.status.Paused {
		found = append(found, need{
			Text: "the queue " + queue.Queue + " is paused: no worker takes jobs from it", Did: "paused", Since: &queue.Since, Who: queue.By,
			Button:  button{Path: "/queues/" + url.PathEscape(queue.Queue) + "?to=resume", Label: "Resume queue…", Operator: true},
			Command: queueCommand(queue.Queue, false),
		})
	}
	return found
}

// consumersBehind returns one need for all consumers that need attention. It describes the worst one.
func (f facts) consumersBehind() []need {
	rows := slices.DeleteFunc(consumerRows(f.consumers, history.ConsumerSeries{}), func(c consumerRow) bool { return c.Mark == "" })
	if len(rows) == 0 {
		return nil
	}
	c := rows[0]
	n := need{
		Bad: c.Kind == "bad", Text: "the consumer " + c.Name + ": " + c.Says, Command: "iuworker consumers",
		Button: button{Path: c.Path(), Label: "Open consumer"},
	}
	if c.LagEvents != nil && *c.LagEvents > 0 && c.Process == nil {
		behind := operate.Count{N: *c.LagEvents}.Of("event", "events")
		n.Text = fmt.Sprintf("the consumer %s is %s behind, and no process works for it", c.Name, behind)
		n.Did, n.Since = "last active", &c.ActiveAt
	}
	if len(rows) > 1 {
		n.Text = fmt.Sprintf("%d consumers need attention: %s", len(rows), n.Text)
		n.Button = mendings["consumers"]
	}
	return []need{n}
}

func (f facts) deadLetters() []need {
	all := letters(f.status)
	if all.N == 0 {
		return nil
	}
	most := slices.MaxFunc(f.status.DeadLetters, func(a, b status.DeadLetterCount) int { return int(a.N - b.N) })
	text := all.Of("dead letter", "dead letters") + " of " + most.Status
	if len(f.status.DeadLetters) > 1 {
		text = fmt.Sprintf("%s, %s of them of %s", all.Of("dead letter", "dead letters"), most.Count, most.Status)
	}
	return []need{{Text: text, Button: button{Path: "/dead-letters", Label: "Review"}, Command: "iuworker dead-letters list"}}
}

// setupSteps returns the steps of a set-up, and which of them are done.
func setupSteps(f facts) []setupStep {
	gate := setupStep{Text: "gates open", Command: compose.GateComposer.OpenCommand()}
	if f.migrated {
		closed, isClosed := closedGate(f.status.Gates)
		gate = setupStep{Text: gate.Text, Done: !isClosed, Button: openGate(closed.Gate, "Open "+string(closed.Gate)+"…"), Command: closed.Gate.OpenCommand()}
	}
	return []setupStep{
		{Done: f.migrated, Text: "schema installed", Command: "iuworker migrate up"},
		{Done: f.alive(), Text: "worker running", Command: "iuworker work"},
		gate,
		{
			Done: f.situation.Templates.N > 0, Text: "a template", Button: button{Path: "/templates", Label: "How"},
			Command: "iuworker templates create KEY --title TITLE PIECE...",
		},
		{
			Done: f.situation.Composed, Text: "first event", Button: button{Path: "/stream", Label: "Send a test event", Operator: true},
			Command: "iuworker enqueue --template KEY",
		},
		{Done: f.situation.Subscribed, Text: "first subscriber", Button: button{Path: "/stream", Label: "Watch"}, Command: "iuworker subscribe"},
	}
}
