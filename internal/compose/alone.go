package compose

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/iu-core/iuworker/jobs"
)

const composeAloneSQL = `
	SELECT COALESCE(event, '{}'), COALESCE(result, '{}'), COALESCE(job, 0), COALESCE(announced, 0) FROM iu_outbox.compose_alone($1, $2, $3)`

// ComposeAlone claims the only row in the outbox, composes its event, inserts its job as completed, and announces the instance, in one
// round trip. If the outbox is empty, the result has no events. ComposeAlone returns nil if there are other rows, or if the event cannot
// be composed at once. If it returns nil or an error, nothing is changed, and the caller claims rows in the usual way. It records no
// spans. The caller asks ComposesAtOnce first, and passes the result to Report.
func (w *Worker) ComposeAlone(ctx context.Context, conn *pgx.Conn, by Incarnation) (*Claimed, error) {
	ctx, cancel := context.WithTimeout(ctx, claimedTimeout)
	defer cancel()
	claimed := w.newClaimed(jobs.QueueEvents, 1)
	outcome := &Outcome{Queue: claimed.queue, Ending: EndingCompleted}
	var position int64
	err := conn.QueryRow(ctx, composeAloneSQL, by.Worker, by.Number, jobs.MaxAttempts).
		Scan(&outcome.Args, &outcome.Result, &outcome.JobID, &position)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil //nolint:nilnil // nothing to do is no error
	case err != nil:
		return nil, fmt.Errorf("call compose_alone: %w", err)
	case outcome.JobID == 0:
		return claimed, nil
	}
	claimed.runs[0] = trace.SpanFromContext(Traced(ctx, outcome.Args)) // the application's; it records nothing
	outcome.Trace = claimed.runs[0].SpanContext()
	claimed.Outcomes[0] = outcome
	claimed.batch.Events = 1
	if position > 0 {
		claimed.batch.Emission = &Emission{Emitted: 1, LastPosition: position, Notified: true}
	}
	return claimed, nil
}
