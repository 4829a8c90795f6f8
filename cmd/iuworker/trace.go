package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/trace"
)

const referenceMax = 300

func (a *app) traceCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "trace EVENT_ID | IDEMPOTENCY_KEY | INSTANCE | SUFFIX",
		Short: "Show everything about one event, and what it waits for",
		Long: `Shows an event's outbox row, its job with failed attempts, the instance, the announcement, the consumers that have passed
it, and what it waits for now. INSTANCE is the id or key of an instance, SUFFIX the part of its key after tpl-inst:auto:.
The number of a job works, too, and so does a unique prefix of an id of at least six characters. Exit code 1 if nothing is
found.`,
		Example: `  iuworker trace 0b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10
  iuworker trace tpl-inst:auto:shop-order-1 --json`,
		Args: oneReference,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) ([]trace.Event, error) {
			return trace.Find(ctx, pool, args[0])
		}, writeTraces),
	})
}

const references = "an event id, an idempotency key, an instance's id or key, or the number of a job"

var oneReference = oneArgument(references, "id, key or suffix", func(cmd *cobra.Command, reference string) error {
	if strings.TrimSpace(reference) == "" || len(reference) > referenceMax || !validText(reference) {
		return usage(cmd, "%s is not an id, key or suffix: give %s", quoted(reference), references)
	}
	return nil
})

func writeTraces(w io.Writer, traces []trace.Event) {
	for i, trace := range traces {
		if i > 0 {
			fmt.Fprintln(w)
		}
		columns(w, func(w io.Writer) { writeTrace(w, trace) })
	}
}

func writeTrace(w io.Writer, t trace.Event) {
	fmt.Fprintf(w, "state\t%s\n", t.State)
	if t.Waits != "" {
		fmt.Fprintf(w, "waits for\t%s\n", flat(t.Waits))
	}
	fmt.Fprintf(w, "event\t%s\n", orUnknown(t.EventID))
	fmt.Fprintf(w, "idempotency key\t%s\n", t.IdempotencyKey)
	fmt.Fprintf(w, "template\t%s\n", traceTemplate(t))
	fmt.Fprintf(w, "suffix\t%s\n", oneLine(&t.InstanceKeySuffix))
	for _, row := range t.Outbox {
		fmt.Fprintf(w, "outbox row %d\tsince %s, %s, priority %d, not before %s; %s by %s\n",
			row.ID, stamp(row.CreatedAt), row.EmitMode, row.Priority, stamp(row.AvailableAt), oneLine(&row.EventType), oneLine(&row.Actor))
	}
	for _, job := range t.Jobs {
		writeTraceJob(w, job)
	}
	for _, letter := range t.DeadLetters {
		fmt.Fprintf(w, "dead letter %d\t%s, since %s, attempts: %d", letter.ID, oneLine(&letter.Status), stamp(letter.CreatedAt), letter.Attempts)
		writeDetail(w, letter.Detail)
	}
	writeTraceInstance(w, t)
	writeTraceEmission(w, t)
	for _, consumer := range t.Consumers {
		fmt.Fprintf(w, "consumer %s\t%s, at position %d\n", oneLine(&consumer.Name), pastIt(consumer), consumer.Position)
	}
}

func writeTraceJob(w io.Writer, job trace.Job) {
	fmt.Fprintf(w, "job %d\t%s in the queue %s", job.ID, job.State, job.Queue)
	if job.QueuePaused {
		fmt.Fprint(w, ", which is paused")
	}
	fmt.Fprintf(w, ", attempt %d of %d, created %s", job.Attempt, job.MaxAttempts, stamp(job.CreatedAt))
	switch {
	case job.FinalizedAt != nil:
		fmt.Fprintf(w, ", ended %s", stamp(*job.FinalizedAt))
	case job.State != "running":
		fmt.Fprintf(w, ", scheduled %s", stamp(job.ScheduledAt))
	}
	if job.Worker != nil {
		fmt.Fprintf(w, ", by %s", oneLine(job.Worker))
	}
	fmt.Fprintln(w)
	for _, failed := range job.Errors {
		fmt.Fprintf(w, "  attempt %d\t%s: %s\n", failed.Attempt, stamp(failed.At), flat(failed.Error))
	}
	if job.Retry != nil {
		fmt.Fprintf(w, "  retried\t%d times since %s: %s\n", job.Retry.Count, stamp(job.Retry.FirstAt), flat(job.Retry.Error))
	}
	if job.Parked != nil {
		fmt.Fprintf(w, "  parked\t%s: %s\n", stamp(job.Parked.At), flat(job.Parked.Reason))
	}
	if job.Output != nil {
		fmt.Fprintf(w, "  function\t%s", job.Output.Status)
		writeDetail(w, &job.Output.Detail)
	}
}

func writeDetail(w io.Writer, detail *string) {
	if detail != nil && *detail != "" {
		fmt.Fprintf(w, ": %s", flat(*detail))
	}
	fmt.Fprintln(w)
}

func writeTraceInstance(w io.Writer, t trace.Event) {
	i := t.Instance
	if i == nil {
		return
	}
	fmt.Fprintf(w, "instance\t%s\n", i.ID)
	fmt.Fprintf(w, "  key\t%s\n", flat(i.Key))
	fmt.Fprintf(w, "  composed\t%s, %s, by %s for %s\n", stamp(i.CreatedAt), i.EmitMode, oneLine(&i.Actor), oneLine(&i.EventType))
	if i.TemplateVersion != nil {
		fmt.Fprintf(w, "  template version\t%d\n", *i.TemplateVersion)
	}
	digest := "unknown"
	if i.DigestMatch != nil && *i.DigestMatch {
		digest = "the same as the template's: " + oneLine(i.InstanceDigest)
	} else if i.DigestMatch != nil {
		digest = fmt.Sprintf("%s; the template's is now %s", oneLine(i.InstanceDigest), oneLine(i.TemplateDigest))
	}
	fmt.Fprintf(w, "  digest\t%s\n", digest)
}

func writeTraceEmission(w io.Writer, t trace.Event) {
	e := t.Emission
	switch {
	case e == nil && t.Instance != nil && t.Instance.EmitMode == "dry_run":
		fmt.Fprintln(w, "announcement\tnone: a dry run is not announced")
	case e == nil && t.Instance != nil:
		fmt.Fprintln(w, "announcement\tpruned")
	case e == nil:
	case e.Position == nil:
		fmt.Fprintf(w, "announcement\twritten %s, not announced yet\n", stamp(e.CreatedAt))
	default:
		fmt.Fprintf(w, "announcement\tcursor %s", e.Cursor)
		if e.EmittedAt != nil {
			fmt.Fprintf(w, ", announced %s", stamp(*e.EmittedAt))
		}
		if e.RolledBackAt != nil {
			fmt.Fprintf(w, ", rolled back %s", stamp(*e.RolledBackAt))
		}
		fmt.Fprintln(w)
	}
}

func traceTemplate(t trace.Event) string {
	switch {
	case t.TemplateKey != nil:
		return fmt.Sprintf("%s, %s", oneLine(t.TemplateKey), orUnknown(t.TemplateID))
	case t.TemplateID != nil:
		return fmt.Sprintf("%s, which does not exist", t.TemplateID)
	default:
		return "unknown"
	}
}

func pastIt(c trace.Consumer) string {
	switch {
	case c.Past == nil:
		return "unknown, its position is " + c.State
	case *c.Past:
		return "has passed it"
	default:
		return "has not reached it"
	}
}

// orUnknown returns a value as text; it is unknown if the row that held it is deleted.
func orUnknown[T fmt.Stringer](value *T) string {
	if value == nil {
		return "unknown"
	}
	return (*value).String()
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
