package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// EventChange is what an operator does to many events.
type EventChange string

// Changes of events.
const (
	EventRetry  EventChange = "retry"  // of dead letters
	EventDrop   EventChange = "drop"   // of dead letters
	EventCancel EventChange = "cancel" // of jobs that have not run
)

// The database functions that change dead letters or jobs, by their ids.
const (
	retrySQL  = "SELECT iu_outbox.retry_dead_letters($1::bigint[])"
	dropSQL   = "SELECT iu_outbox.drop_dead_letters($1::bigint[])"
	cancelSQL = "SELECT iu_outbox.cancel_jobs($1::bigint[])"
)

// MaxEventsChanged is how many events one change takes.
const MaxEventsChanged = 10_000

// PickedEvents says which events ChangeEvents takes.
type PickedEvents struct {
	// IDs are the ones to take: of dead letters, or of jobs.
	IDs []int64

	// Most, if it is not 0, takes those that Filter chooses in place of IDs. If they are more than Most, nothing is changed and
	// a NotAsSeenError is returned; with MaxEventsChanged the latest ones are taken.
	Most   int
	Filter EventFilter

	// Says is added to the audit line: the filter as the operator wrote it.
	Says map[string]string
}

// ChangeEvents retries or drops dead letters, or cancels jobs that have not run yet, in one transaction, and returns how many.
func (o Operator) ChangeEvents(ctx context.Context, do EventChange, which PickedEvents) (n int, err error) {
	ids := which.IDs
	if which.Most > 0 {
		if ids, _, err = ChooseEvents(ctx, o.Pool, which.Filter, do, min(which.Most+1, MaxEventsChanged)); err != nil {
			return 0, err
		}
		if len(ids) > which.Most {
			return 0, &NotAsSeenError{int64(len(ids)), fmt.Sprintf("more than %d events match now", which.Most)}
		}
	}
	audited := func(_ pgx.Tx, n int) (any, error) {
		detail := map[string]any{"ids": ids, "count": n}
		for name, value := range which.Says {
			detail[name] = value
		}
		return detail, nil
	}
	switch do {
	case EventRetry:
		return o.changeRows(ctx, "dead_letter.retry", retrySQL, ids, audited)
	case EventDrop:
		return o.changeRows(ctx, "dead_letter.drop", dropSQL, ids, audited)
	default:
		return o.changeRows(ctx, "job.cancel", cancelSQL, ids, audited)
	}
}
