package scaleout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/time/rate"

	"github.com/iu-core/iuworker/jobs"
)

// Max is the greatest Count of one Start.
const Max = 10_000_000

// Config says what to compose in bulk. The zero value of a field means its default.
type Config struct {
	// Pool is the database. Required.
	Pool *pgxpool.Pool

	// Template is what the instances are made of. Required.
	Template uuid.UUID

	// Prefix names this scale-out: instance n has the suffix <prefix>-<n>, and its event id is derived from
	// that, so starting it again adds nothing. Required.
	Prefix string

	// Count is how many instances, 1 to Max. Required.
	Count int

	// Actor is the actor of the events. A rollback of this actor deletes their instances. Required.
	Actor string

	// By is who starts the scale-out. Default: the database login.
	By string

	// EmitMode is live or dry_run. Default live.
	EmitMode string

	// EventType of the events. Default iuworker.scaleout.
	EventType string

	// Batch is how many jobs one transaction inserts. Default 1000.
	Batch int

	// Rate is the most numbers that are handled per second. Default 0: unlimited.
	Rate int

	// Progress, if it is not nil, is called after each transaction.
	Progress func(Result)
}

// Result says how far Start came: numbers 1 to Done were handled.
type Result struct {
	Template uuid.UUID `json:"template_collection_id"`
	Prefix   string    `json:"prefix"`
	Count    int       `json:"count"`
	Done     int       `json:"done"`
	Added    int       `json:"added"`
	Skipped  int       `json:"skipped"` // composed before, waiting, or dead letters
}

// Start inserts a job for each number from 1 to Count that has none, in one transaction per batch, and writes an audit line. The
// Result says how far it came, also if it fails or ctx ends.
func Start(ctx context.Context, cfg Config) (Result, error) {
	result := Result{Template: cfg.Template, Prefix: cfg.Prefix, Count: cfg.Count}
	if cfg.Pool == nil || cfg.Template == uuid.Nil || cfg.Prefix == "" || cfg.Actor == "" ||
		cfg.Rate < 0 || cfg.Count < 1 || cfg.Count > Max {
		return result, errors.New("scale out: Pool, Template, Prefix, Actor and a Count within its bounds are required")
	}
	cfg.EmitMode = cmp.Or(cfg.EmitMode, "live")
	cfg.EventType = cmp.Or(cfg.EventType, "iuworker.scaleout")
	cfg.Batch = cmp.Or(cfg.Batch, 1000)
	limiter := rate.NewLimiter(rate.Inf, 0)
	if cfg.Rate > 0 {
		cfg.Batch = min(cfg.Batch, max(1, cfg.Rate/rateSteps))
		limiter = rate.NewLimiter(rate.Limit(cfg.Rate), cfg.Batch)
	}
	client, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{
		Schema: jobs.RiverSchema, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return result, fmt.Errorf("set River up: %w", err)
	}
	if err := cfg.checkPrefix(ctx); err != nil {
		return result, err
	}
	if err := cfg.register(ctx); err != nil {
		return result, err
	}
	for result.Done < cfg.Count {
		numbers := min(cfg.Batch, cfg.Count-result.Done)
		if err := limiter.WaitN(ctx, numbers); err != nil {
			return result, fmt.Errorf("scale out: %w", err)
		}
		added, err := cfg.insertPatiently(ctx, client, result.Done+1, numbers)
		if err != nil {
			return result, fmt.Errorf("scale out: %w", err)
		}
		result.Done += numbers
		result.Added += added
		result.Skipped += numbers - added
		if err := note(ctx, cfg.Pool, cfg.Prefix, enqueuedSQL, result.Done); err != nil {
			return result, err
		}
		if cfg.Progress != nil {
			cfg.Progress(result)
		}
	}
	return result, nil
}

// rateSteps is over how many transactions per second a Rate is spread.
const rateSteps = 5

// PrefixTakenError reports that another event or template owns instance keys of the scale-out.
type PrefixTakenError struct{ Prefix, InstanceKey string }

// Error implements error.
func (e *PrefixTakenError) Error() string {
	return fmt.Sprintf("the prefix %q is taken: another event or another template owns %s; choose another prefix", e.Prefix, e.InstanceKey)
}

// checkPrefix returns a PrefixTakenError if another event owns the first instance's key. It also sets the default of By.
func (cfg *Config) checkPrefix(ctx context.Context) error {
	first := cfg.event(1)
	instanceKey := "tpl-inst:auto:" + first.InstanceKeySuffix
	var taken bool
	err := cfg.Pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM public.iu_piece_collection AS c WHERE c.collection_key = $1)
		   AND NOT EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = $2),
			COALESCE(NULLIF($3, ''), SESSION_USER)`,
		instanceKey, first.IdempotencyKey, cfg.By).Scan(&taken, &cfg.By)
	if err != nil {
		return fmt.Errorf("check whether the prefix is free: %w", err)
	}
	if taken {
		return &PrefixTakenError{Prefix: cfg.Prefix, InstanceKey: instanceKey}
	}
	return nil
}
