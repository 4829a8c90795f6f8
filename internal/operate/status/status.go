package status

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
)

// Status is the state of everything, at one moment.
type Status struct {
	At          time.Time         `json:"at"`
	Database    string            `json:"database"`
	Server      string            `json:"server"` // version of PostgreSQL
	Schema      Schema            `json:"schema"`
	Gates       []operate.Gate    `json:"gates"`
	Composing   Composing         `json:"composing"`
	Outbox      Backlog           `json:"outbox"`
	Jobs        []JobCount        `json:"jobs"`         // those there are
	Parked      []ParkedCount     `json:"parked"`       // of the scheduled jobs
	Held        []HeldCount       `json:"held"`         // of the scheduled jobs, by faults of the installation
	DeadLetters []DeadLetterCount `json:"dead_letters"` // by status
	Emissions   Emissions         `json:"emissions"`
	Consumers   []Consumer        `json:"consumers"` // the hundred that lag most
	Workers     []Worker          `json:"workers"`
	Paused      []PausedQueue     `json:"paused_queues"`
}

// PausedQueue is a queue from which no worker takes jobs.
type PausedQueue struct {
	Queue string    `json:"queue"`
	Since time.Time `json:"since"`
	By    *string   `json:"by"` // who paused it; nil if the audit does not tell
}

// Schema is what is installed.
type Schema struct {
	Version           int       `json:"version"`
	MinProgramVersion string    `json:"min_program_version"`
	UpdatedAt         time.Time `json:"updated_at"`
}

// Backlog is what waits in a table, and since when the oldest does.
type Backlog struct {
	operate.Count
	OldestAt *time.Time `json:"oldest_at"`
}

// JobCount counts the jobs of a queue that are in a state.
type JobCount struct {
	Queue string `json:"queue"`
	State string `json:"state"`
	operate.Count
}

// HeldCount counts the jobs that a fault of the installation holds back.
type HeldCount struct {
	Reason string `json:"reason"`
	operate.Count
}

// ParkedCount counts the jobs that wait for a gate.
type ParkedCount struct {
	Gate compose.Gate `json:"gate"`
	operate.Count
}

// DeadLetterCount counts the dead letters of a status.
type DeadLetterCount struct {
	Status string `json:"status"`
	operate.Count
}

// Emissions is how far announcing is.
type Emissions struct {
	Epoch         string     `json:"epoch"`
	LastPosition  int64      `json:"last_position"`
	LastEmittedAt *time.Time `json:"last_emitted_at"`
	Waiting       Backlog    `json:"waiting"`
	Held          bool       `json:"held"` // the registry row is not active
}

// Consumer is where a named consumer is. Lag is how many events it has not handled, LagSeconds how long the first
// of them has been waiting; both are nil if its position is lost (State rewound, pruned, beyond_end).
type Consumer struct {
	Name        string    `json:"name"`
	Epoch       string    `json:"epoch"`
	Position    int64     `json:"position"`
	State       string    `json:"state"`
	Lag         *int64    `json:"lag"`
	LagSeconds  *float64  `json:"lag_seconds"`
	Process     *string   `json:"process"` // that works for it now; nil: none
	DeadLetters int64     `json:"dead_letters"`
	UpdatedAt   time.Time `json:"updated_at"`
	ActiveAt    time.Time `json:"active_at"` // when it last did anything, or had a process
	Attention   bool      `json:"needs_attention"`
}

// Worker is a process that works, or that worked until a moment ago.
type Worker struct {
	ID        string    `json:"id"`
	Hostname  string    `json:"hostname"`
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
	Alive     bool      `json:"alive"`
}

// Read reads the state of everything in one snapshot. No table is counted beyond some thousand rows.
func Read(ctx context.Context, db operate.Beginner) (Status, error) {
	var status Status
	tx, err := db.BeginTx(ctx, operate.Snapshot)
	if err != nil {
		return status, fmt.Errorf("read the status: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // it only read
	for _, read := range []func(context.Context, pgx.Tx, *Status) error{
		readSchema, readGates, readComposing, readOutbox, readJobs, readParked, readHeld, readDeadLetters, readEmissions, readConsumers,
		readWorkers, readPaused,
	} {
		if err := read(ctx, tx, &status); err != nil {
			return status, fmt.Errorf("read the status: %w", err)
		}
	}
	return status, nil
}
