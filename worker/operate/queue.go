package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/jobs"
)

// ErrNoQueue means that River does not know a queue: no worker has worked it in the last day.
var ErrNoQueue = errors.New("no worker has worked it in the last day; start one first: iuworker work")

// QueueAction is the action of the audit line of PauseQueue.
func QueueAction(pause bool) string {
	if pause {
		return "queue.pause"
	}
	return "queue.resume"
}

// PauseQueue pauses a queue, or resumes it, as River does. Jobs that run end. The caller records the audit line in tx.
func PauseQueue(ctx context.Context, tx pgx.Tx, queue string, pause bool) error {
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Schema: jobs.RiverSchema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("set River up: %w", err)
	}
	change, what := client.QueueResumeTx, "resume"
	if pause {
		change, what = client.QueuePauseTx, "pause"
	}
	err = change(ctx, tx, queue, nil)
	if errors.Is(err, rivertype.ErrNotFound) {
		err = ErrNoQueue
	}
	if err != nil {
		return fmt.Errorf("%s the queue %s: %w", what, queue, err)
	}
	return nil
}

// Queues returns the queues of jobs, and who paused them.
func Queues(ctx context.Context, tx pgx.Tx) ([]Queue, error) {
	var s Situation
	if err := readQueues(ctx, tx, &s); err != nil {
		return nil, fmt.Errorf("read the queues: %w", err)
	}
	return s.Queues, nil
}
