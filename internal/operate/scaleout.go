package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/iu-core/iuworker/jobs"
)

// MaxScaleout is the greatest Count of one Scaleout.
const MaxScaleout = 10_000_000

// ScaleoutConfig says what to compose in bulk. The zero value of a field means its default.
type ScaleoutConfig struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool

	// Template is what the instances are made of. Required.
	Template uuid.UUID

	// Prefix names this scale-out: instance n has the suffix <prefix>-<n>, and its event id comes from that, so
	// that the same prefix again adds nothing. Required.
	Prefix string

	// Count is how many instances, 1 to MaxScaleout. Required.
	Count int

	// Actor is who does it, and whose instances a rollback takes away. Required.
	Actor string

	// By is who starts it. Default: the database login.
	By string

	// EmitMode is live or dry_run. Default live.
	EmitMode string

	// EventType of the events. Default iuworker.scaleout.
	EventType string

	// Batch is how many jobs one transaction inserts. Default 1000.
	Batch int

	// Rate is how many numbers a second are looked at, at most. Default 0: as many as the database takes.
	Rate int

	// Progress, if it is not nil, is called after each transaction.
	Progress func(ScaleoutResult)
}

// ScaleoutResult says how far a Scaleout came: numbers 1 to Done were looked at.
type ScaleoutResult struct {
	Template uuid.UUID `json:"template_collection_id"`
	Prefix   string    `json:"prefix"`
	Count    int       `json:"count"`
	Done     int       `json:"done"`
	Added    int       `json:"added"`
	Skipped  int       `json:"skipped"` // composed before, waiting, or dead letters
}

// Scaleout inserts a job for each number from 1 to Count that has none, a transaction a batch. What it returns says
// how far it came, also if it fails or ctx ends.
func Scaleout(ctx context.Context, cfg ScaleoutConfig) (ScaleoutResult, error) {
	result := ScaleoutResult{Template: cfg.Template, Prefix: cfg.Prefix, Count: cfg.Count}
	if cfg.Pool == nil || cfg.Template == uuid.Nil || cfg.Prefix == "" || cfg.Actor == "" ||
		cfg.Rate < 0 || cfg.Count < 1 || cfg.Count > MaxScaleout {
		return result, errors.New("scale out: Pool, Template, Prefix, Actor and a Count within its bounds are required")
	}
	cfg.EmitMode = cmp.Or(cfg.EmitMode, "live")
	cfg.EventType = cmp.Or(cfg.EventType, "iuworker.scaleout")
	cfg.Batch = cmp.Or(cfg.Batch, 1000)
	if cfg.Rate > 0 {
		cfg.Batch = min(cfg.Batch, max(1, cfg.Rate/rateSteps))
	}
	client, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{
		Schema: jobs.RiverSchema, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return result, fmt.Errorf("set River up: %w", err)
	}
	if err := cfg.free(ctx); err != nil {
		return result, err
	}
	if err := cfg.register(ctx); err != nil {
		return result, err
	}
	began := time.Now()
	for result.Done < cfg.Count {
		if err := cfg.keepToRate(ctx, began, result.Done); err != nil {
			return result, fmt.Errorf("scale out: %w", err)
		}
		numbers := min(cfg.Batch, cfg.Count-result.Done)
		added, err := cfg.insertPatiently(ctx, client, result.Done+1, numbers)
		if err != nil {
			return result, fmt.Errorf("scale out: %w", err)
		}
		result.Done += numbers
		result.Added += added
		result.Skipped += numbers - added
		if err := cfg.noteEnqueued(ctx, result.Done); err != nil {
			return result, err
		}
		if cfg.Progress != nil {
			cfg.Progress(result)
		}
	}
	return result, nil
}

// rateSteps is how many transactions a second spread a Rate.
const rateSteps = 5

// keepToRate waits until the next batch is due.
func (cfg ScaleoutConfig) keepToRate(ctx context.Context, began time.Time, done int) error {
	if cfg.Rate == 0 {
		return nil
	}
	due := time.NewTimer(time.Until(began.Add(time.Duration(float64(done) / float64(cfg.Rate) * float64(time.Second)))))
	defer due.Stop()
	select {
	case <-due.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PrefixTakenError says that instances of something else have the keys that a scale-out would give.
type PrefixTakenError struct{ Prefix, InstanceKey string }

// Error implements error.
func (e *PrefixTakenError) Error() string {
	return fmt.Sprintf("the prefix %q is taken: another event or another template owns %s; choose another prefix", e.Prefix, e.InstanceKey)
}

// free looks whether the first instance's key is somebody else's: then all would end as conflicts.
func (cfg ScaleoutConfig) free(ctx context.Context) error {
	first := cfg.event(1)
	instanceKey := "tpl-inst:auto:" + first.InstanceKeySuffix
	var taken bool
	err := cfg.Pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = $1)
		   AND NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = $2)`,
		instanceKey, first.IdempotencyKey).Scan(&taken)
	if err != nil {
		return fmt.Errorf("look whether the prefix is free: %w", err)
	}
	if taken {
		return &PrefixTakenError{Prefix: cfg.Prefix, InstanceKey: instanceKey}
	}
	return nil
}
