package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// EventChange is a change of many events.
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

// MaxEventsChanged is the most events that one change takes.
const MaxEventsChanged = 10_000

// PickedEvents chooses the events that ChangeEvents changes.
type PickedEvents struct {
	// IDs are the ids of the dead letters, or of the jobs.
	IDs []int64

	// Most, if it is not 0, means that Filter chooses the events, and IDs is ignored. If more than Most match, nothing is changed
	// and ChangeEvents returns a NotAsSeenError; but if Most is MaxEventsChanged, the latest ones are changed.
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
