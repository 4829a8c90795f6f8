package webui

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/trace"
	"github.com/iu-core/iuworker/jobs"
)

// States of a step.
const (
	stepDone   = "done"
	stepFailed = "failed"
	stepNow    = "now"  // the event waits here
	stepOpen   = "open" // not reached
)

// eventStep is a step of an event's timeline.
type eventStep struct {
	Title, State string
	At           time.Time // zero: not known, or not reached
	Took         *float64  // seconds since the step before
	Text         string
	Link, To     string // a link's text and path
}

// Moment returns the time of the step to the millisecond.
func (s eventStep) Moment() string {
	if s.At.IsZero() {
		return ""
	}
	return s.At.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// StateWord returns the state as text, for those who do not see its colour.
func (s eventStep) StateWord() string {
	if s.State == stepOpen {
		return "not reached"
	}
	return s.State
}

// eventSteps returns the steps of an event in the order of time, then those that it has not reached, then its consumers.
func eventSteps(t *trace.Event) []eventStep {
	steps := insertedSteps(t)
	for i := len(t.Jobs) - 1; i >= 0; i-- {
		steps = append(steps, jobSteps(&t.Jobs[i])...)
	}
	for _, letter := range t.DeadLetters {
		steps = append(steps, eventStep{
			Title: "Became a dead letter", State: stepFailed, At: letter.CreatedAt, Text: withDetail(letter.Status, *cmp.Or(letter.Detail, new(string))),
			Link: "Dead letters of " + letter.Status, To: "/dead-letters?status=" + url.QueryEscape(letter.Status),
		})
	}
	if i := t.Instance; i != nil {
		steps = append(steps, eventStep{Title: "Composed", State: stepDone, At: i.CreatedAt, Text: i.Key})
	} else if t.State != operate.EventRolledBack {
		steps = append(steps, eventStep{Title: "Composed", State: stepOpen})
	}
	steps = append(steps, announcedSteps(t)...)
	slices.SortStableFunc(steps, func(a, b eventStep) int {
		return cmp.Or(trueFirst(!a.At.IsZero(), !b.At.IsZero()), a.At.Compare(b.At))
	})
	for i := 1; i < len(steps) && !steps[i].At.IsZero(); i++ {
		steps[i].Took = new(max(steps[i].At.Sub(steps[i-1].At), 0).Seconds())
	}
	for _, consumer := range t.Consumers {
		steps = append(steps, consumerStep(consumer))
	}
	return steps
}

// withDetail returns a status with its detail, which may be "".
func withDetail(status, detail string) string {
	if detail == "" {
		return status
	}
	return status + ": " + detail
}

func insertedSteps(t *trace.Event) []eventStep {
	inserted := eventStep{Title: "Inserted into the outbox", State: stepDone}
	var due time.Time
	switch {
	case len(t.Outbox) > 0:
		row := t.Outbox[0]
		inserted.At, due, inserted.State = row.CreatedAt, row.AvailableAt, stepNow
		inserted.Text = fmt.Sprintf("%s by %s, %s, outbox row %d", row.EventType, row.Actor, row.EmitMode, row.ID)
	case len(t.Jobs) > 0:
		args := t.Jobs[len(t.Jobs)-1].Args
		inserted.At, due = args.CreatedAt, args.AvailableAt
		inserted.Text = fmt.Sprintf("%s by %s, %s", args.EventType, args.Actor, args.EmitMode)
	}
	if inserted.At.IsZero() {
		return nil // it did not come through the outbox, or its job was pruned
	}
	steps := []eventStep{inserted}
	if due.Sub(inserted.At) > time.Second && due.Before(time.Now()) {
		steps = append(steps, eventStep{Title: "Became due", State: stepDone, At: due})
	}
	return steps
}

func jobSteps(job *trace.Job) []eventStep {
	link, to := fmt.Sprintf("Job %d in River UI", job.ID), fmt.Sprintf("/riverui/jobs/%d", job.ID)
	steps := []eventStep{{
		Title: "Dispatched to the queue " + job.Queue, State: stepDone, At: job.CreatedAt, Link: link, To: to,
	}}
	for _, failed := range job.Errors {
		steps = append(steps, eventStep{Title: fmt.Sprintf("Attempt %d failed", failed.Attempt), State: stepFailed, At: failed.At, Text: failed.Error})
	}
	if job.Parked != nil {
		title := "Parked until the installation is fixed"
		if job.Parked.Gate != "" {
			title = fmt.Sprintf("Parked at the gate %s", job.Parked.Gate)
		}
		state, text := stepDone, job.Parked.Reason
		if job.FinalizedAt == nil && job.State == "scheduled" {
			state = stepNow
			text += "; parked for " + seconds(max(time.Since(job.Parked.At), 0).Seconds())
		}
		steps = append(steps, eventStep{Title: title, State: state, At: job.Parked.At, Text: text})
	}
	if job.Retry != nil {
		steps = append(steps, eventStep{
			Title: operate.Count{N: int64(job.Retry.Count)}.Of("failure", "failures") + " that may pass by itself", State: stepFailed,
			At: job.Retry.FirstAt, Text: job.Retry.Error,
		})
	}
	if job.AttemptedAt != nil && (job.Parked == nil || job.FinalizedAt != nil) {
		taken := eventStep{Title: "Taken by a worker", State: stepDone, At: *job.AttemptedAt, Text: *cmp.Or(job.Worker, new(string))}
		if job.State == "running" {
			taken.State = stepNow
		}
		steps = append(steps, taken)
	}
	if job.FinalizedAt != nil {
		steps = append(steps, endedStep(job))
	}
	return steps
}

func endedStep(job *trace.Job) eventStep {
	step := eventStep{Title: "Job " + job.State, State: stepFailed, At: *job.FinalizedAt}
	if job.State == "completed" && (job.Output == nil || job.Output.Status == jobs.StatusInstantiated) {
		step.State = stepDone
	}
	if job.Output != nil {
		step.Text = withDetail(string(job.Output.Status), job.Output.Detail)
		if job.Output.Status == jobs.StatusIdempotentReplay {
			step.Title, step.State = "Duplicate: accepted and ignored", stepDone
		}
	}
	return step
}

// announcedSteps returns the announcement, reached or not, and the rollback after it.
func announcedSteps(t *trace.Event) []eventStep {
	step := eventStep{Title: "Announced", State: stepOpen}
	switch e := t.Emission; {
	case e != nil && e.Position != nil && e.EmittedAt != nil:
		step = eventStep{Title: "Announced at position " + number(*e.Position), State: stepDone, At: *e.EmittedAt, Text: "cursor " + e.Cursor}
		if e.RolledBackAt != nil {
			return []eventStep{step, {Title: "Rolled back", State: stepFailed, At: *e.RolledBackAt}}
		}
	case e != nil:
		step.State, step.Text = stepNow, "not yet: the emitter announces it next"
	case t.Instance != nil && t.Instance.EmitMode == "dry_run":
		step.Text = "a dry run is not announced"
	}
	return []eventStep{step}
}

func consumerStep(c trace.Consumer) eventStep {
	step := eventStep{State: stepOpen, Link: c.Name, To: "/consumers/" + url.PathEscape(c.Name), Text: "at position " + number(c.Position)}
	switch {
	case c.Past == nil:
		step.Title = "Consumer " + c.Name + " is " + c.State
	case *c.Past:
		step.Title, step.State = "Consumer "+c.Name+" has passed it", stepDone
	default:
		step.Title = "Consumer " + c.Name + " has not reached it"
	}
	return step
}
