package scaleout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

// States of a scale-out.
const (
	StateEnqueuing = "enqueuing" // its jobs are being inserted
	StateStopped   = "stopped"   // not all jobs were inserted, and no process continues: run the same command again
	StateRunning   = "running"
	StatePaused    = "paused" // like all others
	StateFinished  = "finished"
	StateCancelled = "cancelled"
)

// Line is a scale-out in a list.
type Line struct {
	Prefix      string     `json:"prefix"`
	State       string     `json:"state"`
	TemplateID  uuid.UUID  `json:"template_collection_id"`
	TemplateKey *string    `json:"template_key"` // nil if the template no longer exists
	EmitMode    string     `json:"emit_mode"`
	Actor       string     `json:"actor"`
	StartedBy   string     `json:"started_by"`
	Total       int64      `json:"total"`
	Enqueued    int64      `json:"enqueued"`
	Done        int64      `json:"done"`         // of Enqueued, however they ended
	Waiting     int64      `json:"waiting"`      // Enqueued less Done
	DeadLetters int64      `json:"dead_letters"` // that exist now
	Cancelled   int64      `json:"cancelled"`
	Rate        float64    `json:"rate"`         // jobs that end per second
	SecondsLeft *float64   `json:"seconds_left"` // nil if not known
	StartedAt   time.Time  `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"` // when the end was noticed

	enqueuedAt time.Time
	counted    int64
}

// Unfinished reports whether the scale-out may still change.
func (l Line) Unfinished() bool { return l.FinishedAt == nil }

// Percent returns how much of the scale-out is done.
func (l Line) Percent() int64 { return 100 * l.Done / max(l.Total, 1) }

const (
	countedBatch   = 2000 // numbers that one statement counts
	countedBatches = 12   // batches that one call of List counts, over all scale-outs
	countedSample  = 10   // numbers of a batch that are checked first: if none has ended, the whole batch counts as unfinished
	stoppedAfter   = time.Minute
)

const listSQL = `
	SELECT s.prefix, s.template_collection_id, (SELECT c.collection_key FROM public.iu_piece_collection AS c WHERE c.id = s.template_collection_id),
		s.emit_mode, s.actor, s.started_by, s.total, s.enqueued, s.counted, s.cancelled, s.started_at, s.enqueued_at, s.finished_at, (
			SELECT pg_catalog.count(*) FROM (
				SELECT FROM iu_outbox.dead_letter AS d
				WHERE pg_catalog.left(d.event ->> 'instance_key_suffix', 200) COLLATE "C" >= s.prefix || '-'
				  AND pg_catalog.left(d.event ->> 'instance_key_suffix', 200) COLLATE "C" < s.prefix || '.' -- which follows -
				  AND d.event ->> 'actor' = s.actor
				  AND pg_catalog.substr(d.event ->> 'instance_key_suffix', pg_catalog.length(s.prefix) + 2) ~ '^[1-9][0-9]{0,7}$'
				LIMIT 10000) AS d),
		EXISTS (SELECT FROM iu_river.river_queue AS r WHERE r.name = $2 AND r.paused_at IS NOT NULL), pg_catalog.now()
	FROM iu_outbox.scaleout AS s
	ORDER BY s.started_at DESC, s.prefix
	LIMIT $1`

// List returns up to limit scale-outs, latest first. It counts the progress of unfinished ones by the events' ids, continues
// where the previous call ended, and stores how far it came. A call counts a bounded number, so a large scale-out may need several.
func List(ctx context.Context, pool *pgxpool.Pool, limit int) ([]Line, error) {
	var paused bool
	var now time.Time
	lines, err := operate.Collect(ctx, pool, func(row pgx.CollectableRow) (l Line, err error) {
		err = row.Scan(&l.Prefix, &l.TemplateID, &l.TemplateKey, &l.EmitMode, &l.Actor, &l.StartedBy, &l.Total, &l.Enqueued, &l.counted,
			&l.Cancelled, &l.StartedAt, &l.enqueuedAt, &l.FinishedAt, &l.DeadLetters, &paused, &now)
		return l, err
	}, listSQL, limit, jobs.QueueScaleout)
	if err != nil {
		return nil, fmt.Errorf("list scale-outs: %w", err)
	}
	budget := countedBatches
	for i := range lines {
		l := &lines[i]
		l.Done = l.counted
		if l.Unfinished() {
			if budget, err = l.count(ctx, pool, budget); err != nil {
				return nil, fmt.Errorf("count how far the scale-out %q is: %w", l.Prefix, err)
			}
		}
		l.judge(paused, now)
	}
	return lines, nil
}

// Paused reports whether the queue of all scale-outs is paused.
func Paused(ctx context.Context, q operate.Querier) (paused bool, err error) {
	err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM iu_river.river_queue AS r WHERE r.name = $1 AND r.paused_at IS NOT NULL)",
		jobs.QueueScaleout).Scan(&paused)
	if err != nil {
		return false, fmt.Errorf("read whether scale-outs are paused: %w", err)
	}
	return paused, nil
}

// judge sets the state and the rate, which follow from the numbers.
func (l *Line) judge(paused bool, now time.Time) {
	l.Waiting = l.Enqueued - l.Done
	switch {
	case l.FinishedAt != nil && l.Cancelled > 0:
		l.State = StateCancelled
	case l.FinishedAt != nil:
		l.State = StateFinished
	case l.Enqueued < l.Total && now.Sub(l.enqueuedAt) > stoppedAfter:
		l.State = StateStopped
	case paused:
		l.State = StatePaused
	case l.Enqueued < l.Total:
		l.State = StateEnqueuing
	default:
		l.State = StateRunning
	}
	end := now
	if l.FinishedAt != nil {
		end = *l.FinishedAt
	}
	l.setRate(float64(l.Done) / max(end.Sub(l.StartedAt).Seconds(), 1))
}

func (l *Line) setRate(rate float64) {
	l.Rate, l.SecondsLeft = rate, nil
	if l.State == StateRunning && rate > 0 {
		left := float64(l.Waiting) / rate
		l.SecondsLeft = &left
	}
}

// count continues where the previous call ended, and returns what is left of the budget of batches.
func (l *Line) count(ctx context.Context, pool *pgxpool.Pool, budget int) (int, error) {
	before, contiguous := l.counted, true
	for first := l.counted + 1; first <= l.Enqueued && budget > 0; first += countedBatch {
		budget--
		n := min(countedBatch, l.Enqueued-first+1)
		open, err := l.unfinished(ctx, pool, first, n)
		if err != nil {
			return budget, err
		}
		l.Done += n - open
		if contiguous = contiguous && open == 0; contiguous {
			l.counted = first + n - 1
		}
		if open == n {
			break // the following numbers have not been composed yet
		}
	}
	finished := l.counted == l.Total
	if l.counted == before && !finished {
		return budget, nil
	}
	if finished {
		now := time.Now()
		l.FinishedAt = &now
	}
	err := note(ctx, pool, l.Prefix, countedSQL, l.counted, finished, l.StartedAt)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok &&
		(pgErr.Code == pgerrcode.InsufficientPrivilege || pgErr.Code == pgerrcode.ReadOnlySQLTransaction) {
		err = nil // the next call counts again
	}
	return budget, err
}

// unfinished returns how many of n numbers have a job that has not ended, or a row in the outbox.
func (l *Line) unfinished(ctx context.Context, q operate.Querier, first, n int64) (int64, error) {
	ids := make([]string, n) // texts pass in every mode of the protocol
	for i := range ids {
		ids[i] = eventID(l.Prefix, int(first)+i).String()
	}
	var missing []string
	err := q.QueryRow(ctx, `
		SELECT ARRAY(
			SELECT i.id::text FROM pg_catalog.unnest($1::text[]::uuid[]) WITH ORDINALITY AS i (id, n)
			WHERE NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.event_id = i.id)
			  AND NOT EXISTS (SELECT FROM iu_outbox.dead_letter AS d WHERE d.event_id = i.id)
			ORDER BY i.n)`, ids).Scan(&missing)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	if len(missing) > countedSample {
		sample := make([]string, countedSample)
		for i := range sample {
			sample[i] = missing[i*(len(missing)-1)/(countedSample-1)]
		}
		open, err := withJobs(ctx, q, sample)
		if err != nil || open == countedSample {
			return int64(len(missing)), err
		}
	}
	open, err := withJobs(ctx, q, missing)
	return int64(open), err
}

// withJobs counts the events that have a job that has not ended, or a row in the outbox.
func withJobs(ctx context.Context, q operate.Querier, events []string) (n int, err error) {
	err = q.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM pg_catalog.unnest($1::text[]) AS i (id)
		WHERE EXISTS (
			SELECT FROM iu_outbox.job AS j WHERE j.event_id = i.id AND j.unfinished)
		   OR EXISTS (SELECT FROM iu_outbox.event AS e WHERE e.event_id = i.id::uuid)`, events).Scan(&n)
	return n, err
}

// Meter measures the current rates of scale-outs from successive results of List. Its zero value is ready to use. Safe for
// concurrent use.
type Meter struct {
	mu   sync.Mutex
	seen map[string][]sample // oldest first
}

type sample struct {
	at   time.Time
	done int64
}

const (
	meterSpan    = time.Minute
	meterMinimum = 5 * time.Second
)

// Measure sets the rates of unfinished scale-outs to those of the last minute, if earlier calls have seen these scale-outs.
func (m *Meter) Measure(lines []Line, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string][]sample{}
	}
	for i := range lines {
		l := &lines[i]
		if !l.Unfinished() {
			delete(m.seen, l.Prefix)
			continue
		}
		samples := m.seen[l.Prefix]
		for len(samples) > 0 && (now.Sub(samples[0].at) > meterSpan || samples[0].done > l.Done) {
			samples = samples[1:]
		}
		if len(samples) > 0 && now.Sub(samples[0].at) >= meterMinimum {
			l.setRate(float64(l.Done-samples[0].done) / now.Sub(samples[0].at).Seconds())
		}
		m.seen[l.Prefix] = append(samples, sample{now, l.Done})
	}
}
