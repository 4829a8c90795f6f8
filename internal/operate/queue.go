package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/jobs"
)

// ErrNoQueue means that River does not know a queue: no worker has served it in the last day.
var ErrNoQueue = errors.New("no worker has served it in the last day; start one first: iuworker work")

// PauseQueue pauses or resumes a queue. Running jobs finish. If the queue is in that state already, nothing changes.
func (o Operator) PauseQueue(ctx context.Context, queue string, pause bool) error {
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Schema: jobs.RiverSchema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("set River up: %w", err)
	}
	change, did := client.QueueResumeTx, "resume"
	if pause {
		change, did = client.QueuePauseTx, "pause"
	}
	err = o.change(ctx, "queue."+did, func(tx pgx.Tx) (any, error) {
		queues, err := Queues(ctx, tx)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(queues, func(q Queue) bool { return q.Name == queue })
		if i >= 0 && (queues[i].PausedAt != nil) == pause {
			return nil, errUnchanged
		}
		return map[string]any{"queue": queue}, change(ctx, tx, queue, nil)
	})
	if errors.Is(err, rivertype.ErrNotFound) {
		err = ErrNoQueue
	}
	if err != nil {
		return fmt.Errorf("%s the queue %s: %w", did, queue, err)
	}
	return nil
}

// Queue is a queue of jobs, and who paused it.
type Queue struct {
	Name     string     `json:"name"`
	PausedAt *time.Time `json:"paused_at"` // nil: it is not paused
	PausedBy *string    `json:"paused_by"` // nil: no audit line says
}

// Queues returns the queues of jobs, and who paused them according to the last thousand audit lines.
func Queues(ctx context.Context, tx pgx.Tx) ([]Queue, error) {
	queues, err := Collect(ctx, tx, pgx.RowToStructByPos[Queue], `
		SELECT n.name, q.paused_at, CASE WHEN q.paused_at IS NOT NULL THEN (
			SELECT a.actor FROM (SELECT a.* FROM iu_outbox.audit AS a ORDER BY a.id DESC LIMIT 1000) AS a
			WHERE a.action = 'queue.pause' AND a.detail ->> 'queue' IN (n.name, '*') ORDER BY a.id DESC LIMIT 1) END
		FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS n (name, ordinal)
		LEFT JOIN iu_river.river_queue AS q ON q.name = n.name
		ORDER BY n.ordinal`, []string{jobs.QueueEvents, jobs.QueueScaleout})
	if err != nil {
		return nil, fmt.Errorf("read the queues: %w", err)
	}
	return queues, nil
}
