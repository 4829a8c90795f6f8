package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	// RetryFor is how long a job is retried after its first error that may pass.
	RetryFor = 24 * time.Hour
	// lockedMax is the longest wait for another transaction that holds what an event needs.
	lockedMax = 5 * time.Second
)

// retryMark is the job's metadata under "retry". Errors that may pass are kept here and not in River's list of errors: in a day there
// may be more than a thousand, and each one would rewrite the list.
type retryMark struct {
	Count   int       `json:"count"`
	FirstAt time.Time `json:"first_at"`
	Error   string    `json:"error"`
	Alone   bool      `json:"alone,omitempty"` // it takes too long, or too much, to be composed with others
}

// retryLater snoozes a job whose error may pass, or cancels it after RetryFor.
func retryLater(ctx context.Context, row *rivertype.JobRow, cause error) error {
	mark := readRetryMark(row)
	now := time.Now().UTC()
	if row.AttemptedAt != nil {
		now = row.AttemptedAt.UTC() // by the server's clock, as the other times are that this one is compared with
	}
	if mark.Count == 0 {
		mark.FirstAt = now
	}
	if now.Sub(mark.FirstAt) > RetryFor {
		if err := recordError(ctx, cause); err != nil {
			return err
		}
		return river.JobCancel(fmt.Errorf("tried %d times in %s: %w", mark.Count, RetryFor, cause))
	}
	mark.Count++
	mark.Error = cause.Error()
	mark.Alone = mark.Alone || lasting(cause)
	if err := river.MetadataSet(ctx, "retry", mark); err != nil {
		return fmt.Errorf("mark the job for a retry: %w", err)
	}
	wait := retry.Work.Wait(mark.Count)
	if lockHeld(cause) {
		wait = min(wait, lockedMax) // it costs nothing, and the lock may end at any moment
	}
	return river.JobSnooze(wait)
}

func readRetryMark(row *rivertype.JobRow) retryMark {
	var metadata struct {
		Retry retryMark `json:"retry"`
	}
	if json.Unmarshal(row.Metadata, &metadata) != nil {
		return retryMark{} // another program's metadata under our key: start counting again
	}
	return metadata.Retry
}
