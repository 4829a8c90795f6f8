package jobs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
)

// ParkFor is how long a parked job sleeps where nothing resumes it. The gate's doorbell and a sweep resume it
// long before; the length keeps a million parked jobs from costing anything while the gate is closed.
const ParkFor = 24 * time.Hour

// parkedMark is the job's metadata under "parked". iu_outbox.resume_parked looks for the gate.
type parkedMark struct {
	Gate   Gate      `json:"gate"`
	Status Status    `json:"status"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// park marks the job and snoozes it. River gives the attempt back.
func park(ctx context.Context, gate Gate, status Status) error {
	mark := parkedMark{
		Gate:   gate,
		Status: status,
		Reason: fmt.Sprintf("the %s gate is closed; to open it, run: %s", gate, gate.OpenCommand()),
		At:     time.Now().UTC(),
	}
	if err := river.MetadataSet(ctx, "parked", mark); err != nil {
		return fmt.Errorf("mark the job as parked: %w", err)
	}
	jitter := rand.N(ParkFor / 24) //nolint:gosec // spreads load, guards nothing
	return river.JobSnooze(ParkFor + jitter)
}
