package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
)

// traceKey is what rows are looked for by: one of the two; instance, too, if it was asked for.
type traceKey struct {
	event    uuid.UUID
	key      string
	instance uuid.UUID
}

// where returns a condition on a table's columns event_id and idempotency_key, and its argument, $1.
func (k traceKey) where() (condition string, arg any) {
	if k.key != "" {
		return "idempotency_key = $1", k.key
	}
	return "event_id = $1", k.event
}

func (k traceKey) args() string {
	if k.key != "" {
		return fmt.Sprintf(`{"idempotency_key": %q}`, k.key)
	}
	return fmt.Sprintf(`{"event_id": %q}`, k.event)
}

// resolve returns what to look for; nil if nothing is known of the reference.
func (t *tracing) resolve(ctx context.Context, reference string) (*traceKey, error) {
	if keyForm.MatchString(reference) {
		return &traceKey{key: reference}, nil
	}
	if id, err := uuid.Parse(reference); err == nil {
		instance, err := t.instance(ctx, id)
		if err != nil || instance != nil {
			return instance, err
		}
		return &traceKey{event: id}, nil
	}
	var key *string
	var err error
	if number, numberErr := strconv.ParseInt(reference, 10, 64); numberErr == nil {
		err = t.tx.QueryRow(ctx, "SELECT j.event ->> 'idempotency_key' FROM iu_outbox.job AS j WHERE j.id = $1", number).Scan(&key)
		if errors.Is(err, pgx.ErrNoRows) {
			err = t.tx.QueryRow(ctx, `SELECT d.idempotency_key FROM iu_outbox.dead_letter AS d WHERE d.job_id = $1`, number).Scan(&key)
		}
	} else {
		suffix := strings.TrimPrefix(reference, "tpl-inst:auto:")
		err = t.tx.QueryRow(ctx, `
			SELECT l.idempotency_key FROM public.iu_piece_collection AS c
			JOIN public.iu_auto_instantiate_event_log AS l ON l.instance_collection_id = c.id
			WHERE c.collection_key = 'tpl-inst:auto:' || $1::text`, suffix).Scan(&key)
		if errors.Is(err, pgx.ErrNoRows) {
			err = t.tx.QueryRow(ctx, keyOfSuffixSQL, suffix).Scan(&key)
		}
	}
	if (errors.Is(err, pgx.ErrNoRows) || err == nil && key == nil) && prefixForm.MatchString(reference) {
		return t.byPrefix(ctx, strings.ToLower(reference))
	}
	if errors.Is(err, pgx.ErrNoRows) || err == nil && key == nil {
		return nil, nil //nolint:nilnil // nothing is known of it, which is no error
	}
	if err != nil {
		return nil, err
	}
	return &traceKey{key: *key}, nil
}

// prefixForm is what a prefix of an id or of an idempotency key looks like: as git's, of six characters at least.
var prefixForm = regexp.MustCompile(`^[0-9a-fA-F]{6}[0-9a-fA-F-]{0,30}$`)

// AmbiguousError means that a prefix fits more than one event.
type AmbiguousError struct {
	Prefix     string
	References []string // idempotency keys, or event ids, of up to prefixMatches of them
}

const prefixMatches = 20

// Error implements error.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("several events begin with %q; give more characters", e.Prefix)
}

// byPrefix finds the one event of which an event id, an instance id or the idempotency key begins with a prefix.
func (t *tracing) byPrefix(ctx context.Context, prefix string) (*traceKey, error) {
	low, high := bounds(prefix)
	rows, err := t.tx.Query(ctx, `
		SELECT DISTINCT k.key, CASE WHEN k.key IS NULL THEN k.event END FROM (
			(SELECT l.idempotency_key AS key, l.event_id AS event FROM public.iu_auto_instantiate_event_log AS l
			 WHERE l.event_id BETWEEN $1::text::uuid AND $2::text::uuid LIMIT $4)
			UNION ALL
			(SELECT l.idempotency_key, l.event_id FROM public.iu_auto_instantiate_event_log AS l
			 WHERE l.instance_collection_id BETWEEN $1::text::uuid AND $2::text::uuid LIMIT $4)
			UNION ALL
			(SELECT l.idempotency_key, l.event_id FROM public.iu_auto_instantiate_event_log AS l
			 WHERE l.idempotency_key BETWEEN $1::text AND $2::text LIMIT $4)
			UNION ALL
			(SELECT e.idempotency_key, e.event_id FROM iu_outbox.event AS e
			 WHERE e.event_id BETWEEN $1::text::uuid AND $2::text::uuid OR e.idempotency_key BETWEEN $1::text AND $2::text LIMIT $4)
			UNION ALL
			(SELECT d.idempotency_key, d.event_id FROM iu_outbox.dead_letter AS d
			 WHERE d.event_id BETWEEN $1::text::uuid AND $2::text::uuid OR d.idempotency_key BETWEEN $1::text AND $2::text LIMIT $4)
			UNION ALL
			(SELECT j.event ->> 'idempotency_key', NULL FROM iu_outbox.job AS j
			 WHERE j.unfinished
			   AND (pg_catalog.starts_with(j.event ->> 'event_id', $3) OR pg_catalog.starts_with(j.event ->> 'idempotency_key', $3)) LIMIT $4)
		) AS k
		WHERE k.key IS NOT NULL OR k.event IS NOT NULL LIMIT $4`, low, high, prefix, prefixMatches)
	if err != nil {
		return nil, err
	}
	var key *string
	var event *uuid.UUID
	var keys []traceKey
	_, err = pgx.ForEachRow(rows, []any{&key, &event}, func() error {
		if key != nil {
			keys = append(keys, traceKey{key: *key})
		} else {
			keys = append(keys, traceKey{event: *event})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, nil //nolint:nilnil // nothing is known of it, which is no error
	case len(keys) > 1:
		return nil, ambiguous(prefix, keys)
	}
	return &keys[0], nil
}

func ambiguous(prefix string, keys []traceKey) *AmbiguousError {
	several := &AmbiguousError{Prefix: prefix}
	for _, key := range keys {
		if key.key != "" {
			several.References = append(several.References, key.key)
		} else {
			several.References = append(several.References, key.event.String())
		}
	}
	return several
}

// bounds returns the least and the greatest UUID that begin with a prefix.
func bounds(prefix string) (low, high string) {
	digits := strings.ReplaceAll(prefix, "-", "")
	digits = digits[:min(len(digits), 32)]
	return digits + strings.Repeat("0", 32-len(digits)), digits + strings.Repeat("f", 32-len(digits))
}

// keyOfSuffixSQL returns whose the key of an instance is to be that is not composed.
const keyOfSuffixSQL = `
	SELECT k.idempotency_key FROM (
		SELECT e.idempotency_key FROM iu_outbox.event AS e WHERE e.instance_key_suffix = $1::text
		UNION ALL
		SELECT j.event ->> 'idempotency_key' FROM iu_outbox.job AS j
		WHERE j.event @> pg_catalog.jsonb_build_object('instance_key_suffix', $1::text)
		UNION ALL
		SELECT d.idempotency_key FROM iu_outbox.dead_letter AS d 
		WHERE pg_catalog.left(d.event ->> 'instance_key_suffix', 200) COLLATE "C" = $1::text
	) AS k
	WHERE k.idempotency_key IS NOT NULL
	LIMIT 1`

// instance returns the key of an instance; nil if the id is none. Of one that was rolled back, the announcement alone
// may be left, which says whose it was.
func (t *tracing) instance(ctx context.Context, id uuid.UUID) (*traceKey, error) {
	found := traceKey{instance: id}
	err := t.tx.QueryRow(ctx, `
		SELECT l.idempotency_key FROM public.iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = $1`, id).
		Scan(&found.key)
	if errors.Is(err, pgx.ErrNoRows) {
		var event, template uuid.UUID
		var suffix string
		err = t.tx.QueryRow(ctx, `
			SELECT d.data ->> 'idempotency_key', (d.data ->> 'event_id')::uuid, (d.data ->> 'template_collection_id')::uuid,
				pg_catalog.substr(d.data ->> 'instance_key', pg_catalog.length('tpl-inst:auto:') + 1)
			FROM (SELECT e.event -> 'data' AS data FROM iu_outbox.emission AS e WHERE e.instance_collection_id = $1) AS d`, id).
			Scan(&found.key, &event, &template, &suffix)
		if err == nil {
			t.of(found.key, event, template, suffix)
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no instance, which is no error
	}
	if err != nil {
		return nil, err
	}
	return &found, nil
}

func (t *tracing) readOutbox(ctx context.Context, by *traceKey) error {
	condition, arg := by.where()
	return t.each(ctx, func(row pgx.CollectableRow) error {
		var o TraceOutbox
		var key, suffix string
		var event, template uuid.UUID
		err := row.Scan(&o.ID, &event, &o.EventType, &template, &suffix, &o.EmitMode, &o.Actor, &o.Priority, &o.AvailableAt,
			&key, &o.CreatedAt)
		if err == nil {
			trace := t.of(key, event, template, suffix)
			trace.Outbox = append(trace.Outbox, o)
		}
		return err
	}, `
		SELECT id, event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, priority, available_at,
			idempotency_key, created_at
		FROM iu_outbox.event WHERE `+condition+` ORDER BY id LIMIT $2`, arg, traceLimit)
}

func (t *tracing) readJobs(ctx context.Context, by *traceKey) error {
	return t.each(ctx, func(row pgx.CollectableRow) error {
		var job TraceJob
		var event, output, parked, retry []byte
		var errorTexts [][]byte
		err := row.Scan(&job.ID, &job.Queue, &job.QueuePaused, &job.State, &job.Attempt, &job.MaxAttempts, &job.CreatedAt,
			&job.ScheduledAt, &job.AttemptedAt, &job.FinalizedAt, &job.Worker, &errorTexts, &event, &output, &parked, &retry)
		if err != nil {
			return err
		}
		// What does not fit was put there by somebody else, and is left out.
		_ = json.Unmarshal(event, &job.Args)
		_ = json.Unmarshal(output, &job.Output)
		_ = json.Unmarshal(parked, &job.Parked)
		_ = json.Unmarshal(retry, &job.Retry)
		for _, text := range errorTexts {
			var e TraceError
			if json.Unmarshal(text, &e) == nil {
				job.Errors = append(job.Errors, e)
			}
		}
		trace := t.of(job.Args.IdempotencyKey, job.Args.EventID, job.Args.TemplateCollectionID, job.Args.InstanceKeySuffix)
		trace.Jobs = append(trace.Jobs, job)
		return nil
	}, `
		SELECT j.id, j.queue, q.paused_at IS NOT NULL, j.state::text, j.attempt, j.max_attempts, j.created_at, j.scheduled_at,
			j.attempted_at, j.finalized_at, j.worker, j.errors, j.event, j.output, j.parked, j.retry
		FROM iu_outbox.job AS j
		LEFT JOIN iu_river.river_queue AS q ON q.name = j.queue
		WHERE j.event @> $1::jsonb
		ORDER BY j.id DESC LIMIT $2`, by.args(), traceLimit)
}

func (t *tracing) readInstances(ctx context.Context, by *traceKey) error {
	condition, arg := by.where()
	return t.each(ctx, func(row pgx.CollectableRow) error {
		var i TraceInstance
		var key, suffix string
		var event, template uuid.UUID
		err := row.Scan(&i.ID, &i.Key, &i.Title, &template, &event, &i.EventType, &key, &i.EmitMode, &i.Actor, &i.CreatedAt,
			&i.TemplateDigest, &i.InstanceDigest, &i.DigestMatch, &i.TemplateVersion, &i.RecordedDigest, &suffix)
		if err == nil {
			t.of(key, event, template, suffix).Instance = &i
		}
		return err
	}, `
		SELECT v.instance_collection_id, v.instance_key, v.instance_title, v.template_collection_id, v.event_id, v.event_type,
			v.idempotency_key, v.emit_mode, v.triggered_by, v.created_at, v.template_digest, v.instance_digest, v.digest_match,
			g.template_version, g.template_digest,
			pg_catalog.substr(v.instance_key, pg_catalog.length('tpl-inst:auto:') + 1)
		FROM public.v_iu_auto_instantiate_event_log AS v
		LEFT JOIN public.iu_collection_template_instance_lineage AS g ON g.instance_collection_id = v.instance_collection_id
		WHERE v.`+condition+` LIMIT $2`, arg, traceLimit)
}

func (t *tracing) readDeadLetters(ctx context.Context, by *traceKey) error {
	condition, arg := by.where()
	rows, err := t.tx.Query(ctx, `
		SELECT `+deadLetterColumns+` FROM iu_outbox.dead_letter AS d WHERE d.`+condition+` ORDER BY d.id LIMIT $2`, arg, traceLimit)
	if err != nil {
		return err
	}
	letters, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DeadLetter])
	if err != nil {
		return err
	}
	for _, letter := range letters {
		var args jobs.AutoInstantiateArgs
		_ = json.Unmarshal(letter.Event, &args) // an event that does not fit is told by its dead letter
		var key string
		if letter.IdempotencyKey != nil {
			key = *letter.IdempotencyKey
		}
		trace := t.of(key, args.EventID, args.TemplateCollectionID, args.InstanceKeySuffix)
		trace.DeadLetters = append(trace.DeadLetters, letter)
	}
	return nil
}

// readTemplate reads the template's key; there is no such collection where an application was wrong.
func (t *tracing) readTemplate(ctx context.Context, trace *Trace) error {
	err := t.tx.QueryRow(ctx, `SELECT c.collection_key FROM public.iu_piece_collection AS c WHERE c.id = $1`, trace.TemplateID).
		Scan(&trace.TemplateKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// readEmission reads the announcement of the instance, or of the last one that is known, which may be rolled back.
func (t *tracing) readEmission(ctx context.Context, trace *Trace, by *traceKey) error {
	id := by.instance
	if trace.Instance != nil {
		id = trace.Instance.ID
	}
	for _, job := range trace.Jobs {
		if id == uuid.Nil && job.Output != nil && job.Output.InstanceCollectionID != nil {
			id = *job.Output.InstanceCollectionID
		}
	}
	var e TraceEmission
	err := t.tx.QueryRow(ctx, `
		SELECT e.instance_collection_id, e.position, COALESCE(e.event ->> 'cursor', ''), e.event, e.created_at, e.emitted_at,
			e.rolled_back_at
		FROM iu_outbox.emission AS e WHERE e.instance_collection_id = $1`, id).
		Scan(&e.InstanceID, &e.Position, &e.Cursor, &e.Event, &e.CreatedAt, &e.EmittedAt, &e.RolledBackAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	trace.Emission = &e
	return t.readConsumers(ctx, trace)
}

func (t *tracing) readConsumers(ctx context.Context, trace *Trace) error {
	if trace.Emission.Position == nil {
		return nil
	}
	return t.each(ctx, func(row pgx.CollectableRow) error {
		var c TraceConsumer
		err := row.Scan(&c.Name, &c.Position, &c.State)
		if c.State == "ok" || c.State == "pruned" {
			past := c.Position >= *trace.Emission.Position
			c.Past = &past
		}
		trace.Consumers = append(trace.Consumers, c)
		return err
	}, `SELECT c.name, c.position, c.state FROM iu_outbox.consumer_status AS c ORDER BY c.name LIMIT 100`)
}

func (t *tracing) each(ctx context.Context, take func(pgx.CollectableRow) error, sql string, args ...any) error {
	rows, err := t.tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) { return struct{}{}, take(row) })
	return err
}
