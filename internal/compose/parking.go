package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/jobs"
)

// ParkFor is how long a parked job sleeps if nothing resumes it. The gate's doorbell and a sweep resume it long before; it is so
// long that a million parked jobs cost nothing while the gate is closed.
const ParkFor = 24 * time.Hour

// statusFault is the status under "parked" of a job that the installation's fault holds back.
const statusFault jobs.Status = "installation_fault"

// maxHolds is how many times a job is held back again although others were composed since; then the fault is its own.
const maxHolds = 3

// parkedMark is the job's metadata under "parked". iu_outbox.resume_parked reads the gate, resume_held the status.
type parkedMark struct {
	Gate   Gate        `json:"gate,omitempty"`
	Status jobs.Status `json:"status"`
	Reason string      `json:"reason"`
	At     time.Time   `json:"at"`
}

// heldMark is the job's metadata under "held": how many times it was held back again although others were composed, and whether it
// runs now because they were, which resume_held writes.
type heldMark struct {
	Times   int  `json:"times"`
	Resumed bool `json:"resumed,omitempty"`
}

// park marks the job and snoozes it until its gate opens. River gives the attempt back.
func park(ctx context.Context, gate Gate, status jobs.Status) error {
	return parkWith(ctx, parkedMark{
		Gate:   gate,
		Status: status,
		Reason: fmt.Sprintf("the %s gate is closed; to open it, run: %s", gate, gate.OpenCommand()),
		At:     time.Now().UTC(),
	})
}

func parkWith(ctx context.Context, mark parkedMark) error {
	if err := river.MetadataSet(ctx, "parked", mark); err != nil {
		return fmt.Errorf("mark the job as parked: %w", err)
	}
	jitter := rand.N(ParkFor / 24) //nolint:gosec // spreads load, guards nothing
	return river.JobSnooze(ParkFor + jitter)
}

// hold parks a job until a fault of the installation is fixed.
func hold(ctx context.Context, held heldMark, fault Fault) error {
	if held != (heldMark{}) {
		if err := river.MetadataSet(ctx, "held", held); err != nil {
			return fmt.Errorf("count how often the job was held back: %w", err)
		}
	}
	return parkWith(ctx, parkedMark{Status: statusFault, Reason: fault.String(), At: time.Now().UTC()})
}

func readHeldMark(row *rivertype.JobRow) heldMark {
	var metadata struct {
		Held heldMark `json:"held"`
	}
	if json.Unmarshal(row.Metadata, &metadata) != nil {
		return heldMark{} // another program's metadata under our key
	}
	return metadata.Held
}
