package operate

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // the idempotency key is an md5 by contract; it guards nothing
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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

	// EmitMode is live or dry_run. Default live.
	EmitMode string

	// EventType of the events. Default iuworker.scaleout.
	EventType string

	// Batch is how many jobs one transaction inserts. Default 1000.
	Batch int

	// Progress, where it is not nil, is called after each transaction.
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

// scaleoutSpace is the namespace of the events' ids.
var scaleoutSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("urn:iuworker:scaleout"))

// Scaleout inserts a job for each number from 1 to Count that has none, a transaction a batch. What it answers says
// how far it came, also where it fails or ctx ends.
func Scaleout(ctx context.Context, cfg ScaleoutConfig) (ScaleoutResult, error) {
	result := ScaleoutResult{Template: cfg.Template, Prefix: cfg.Prefix, Count: cfg.Count}
	if cfg.Pool == nil || cfg.Template == uuid.Nil || cfg.Prefix == "" || cfg.Actor == "" ||
		cfg.Count < 1 || cfg.Count > MaxScaleout {
		return result, errors.New("scale out: Pool, Template, Prefix, Actor and a Count within its bounds are required")
	}
	cfg.EmitMode = cmp.Or(cfg.EmitMode, "live")
	cfg.EventType = cmp.Or(cfg.EventType, "iuworker.scaleout")
	cfg.Batch = cmp.Or(cfg.Batch, 1000)
	client, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{
		Schema: jobs.RiverSchema, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return result, fmt.Errorf("set River up: %w", err)
	}
	for result.Done < cfg.Count {
		numbers := min(cfg.Batch, cfg.Count-result.Done)
		added, err := cfg.insert(ctx, client, result.Done+1, numbers)
		if err != nil {
			return result, fmt.Errorf("scale out: %w", err)
		}
		result.Done += numbers
		result.Added += added
		result.Skipped += numbers - added
		if cfg.Progress != nil {
			cfg.Progress(result)
		}
	}
	return result, nil
}

// insert inserts the jobs of n numbers, and answers how many were new.
func (cfg ScaleoutConfig) insert(ctx context.Context, client *river.Client[pgx.Tx], first, n int) (int, error) {
	events := make([]jobs.AutoInstantiateArgs, n)
	for i := range events {
		events[i] = cfg.event(first + i)
	}
	var added int
	err := pgx.BeginFunc(ctx, cfg.Pool, func(tx pgx.Tx) error {
		known, err := known(ctx, tx, events)
		if err != nil {
			return err
		}
		var params []river.InsertManyParams
		for _, event := range events {
			if !known[event.IdempotencyKey] {
				params = append(params, river.InsertManyParams{
					Args: event, InsertOpts: &river.InsertOpts{Queue: jobs.QueueScaleout},
				})
			}
		}
		if len(params) == 0 {
			return nil
		}
		results, err := client.InsertManyTx(ctx, tx, params)
		if err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
		for _, result := range results {
			if !result.UniqueSkippedAsDuplicate {
				added++
			}
		}
		return nil
	})
	return added, err
}

func (cfg ScaleoutConfig) event(number int) jobs.AutoInstantiateArgs {
	suffix := cfg.Prefix + "-" + strconv.Itoa(number)
	id := uuid.NewSHA1(scaleoutSpace, []byte(suffix))
	key := md5.Sum([]byte(id.String() + ":" + cfg.Template.String() + ":" + suffix)) //nolint:gosec // see the import
	now := time.Now().UTC()
	return jobs.AutoInstantiateArgs{
		EventID: id, EventType: cfg.EventType, TemplateCollectionID: cfg.Template, InstanceKeySuffix: suffix,
		EmitMode: cfg.EmitMode, Actor: cfg.Actor, Priority: 1, AvailableAt: now, CreatedAt: now,
		IdempotencyKey: hex.EncodeToString(key[:]),
	}
}

// known answers the idempotency keys that were composed, that wait in the outbox, or that are dead letters. Unfinished
// jobs are found by River itself.
func known(ctx context.Context, tx pgx.Tx, events []jobs.AutoInstantiateArgs) (map[string]bool, error) {
	keys, ids := make([]string, len(events)), make([]uuid.UUID, len(events))
	for i, event := range events {
		keys[i], ids[i] = event.IdempotencyKey, event.EventID
	}
	rows, err := tx.Query(ctx, `
		SELECT k.key
		FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::uuid[])) AS k (key, event_id)
		WHERE EXISTS (SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = k.key)
		   OR EXISTS (SELECT FROM iu_outbox.dead_letter AS d WHERE d.event_id = k.event_id AND d.idempotency_key = k.key)
		   OR EXISTS (SELECT FROM iu_outbox.event AS e WHERE e.event_id = k.event_id AND e.idempotency_key = k.key)`,
		keys, ids)
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for known events: %w", err)
	}
	known := make(map[string]bool, len(found))
	for _, key := range found {
		known[key] = true
	}
	return known, nil
}
