package trace

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// target is what rows are read by: an idempotency key, or else an event id. instance is that of the reference, if it names one.
type target struct {
	key      string
	event    uuid.UUID
	instance uuid.UUID
}

// column returns the column to read by, idempotency_key or event_id, and its value.
func (t target) column() (name, value string) {
	if t.key != "" {
		return "idempotency_key", t.key
	}
	return "event_id", t.event.String()
}

var (
	keyForm    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	prefixForm = regexp.MustCompile(`^[0-9a-fA-F]{6}[0-9a-fA-F-]{0,30}$`) // of an id or a key, as git's
)

// resolve returns what to read by; the error is pgx.ErrNoRows if nothing is known of the reference.
func (r *reader) resolve(ctx context.Context, reference string) (target, error) {
	if keyForm.MatchString(reference) {
		return target{key: reference}, nil
	}
	if id, err := uuid.Parse(reference); err == nil {
		found, err := r.resolveInstance(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return target{event: id}, nil
		}
		return found, err
	}
	statements, arg := []string{keyOfInstanceSQL, keyOfSuffixSQL}, any(strings.TrimPrefix(reference, "tpl-inst:auto:"))
	if number, err := strconv.ParseInt(reference, 10, 64); err == nil {
		statements, arg = []string{keyOfJobSQL}, number
	}
	for _, sql := range statements {
		var key string
		err := r.tx.QueryRow(ctx, sql, arg).Scan(&key)
		if !errors.Is(err, pgx.ErrNoRows) {
			return target{key: key}, err
		}
	}
	if prefixForm.MatchString(reference) {
		return r.resolvePrefix(ctx, strings.ToLower(reference))
	}
	return target{}, pgx.ErrNoRows
}

const (
	keyOfJobSQL = `
		SELECT k.key FROM (
			SELECT j.event ->> 'idempotency_key' AS key FROM iu_outbox.job AS j WHERE j.id = $1
			UNION ALL
			SELECT d.idempotency_key FROM iu_outbox.dead_letter AS d WHERE d.job_id = $1
		) AS k
		WHERE k.key IS NOT NULL
		LIMIT 1`

	keyOfInstanceSQL = `
		SELECT l.idempotency_key FROM public.iu_piece_collection AS c
		JOIN public.iu_auto_instantiate_event_log AS l ON l.instance_collection_id = c.id
		WHERE c.collection_key = 'tpl-inst:auto:' || $1::text`

	// keyOfSuffixSQL finds an event without an instance.
	keyOfSuffixSQL = `
		SELECT k.idempotency_key FROM (
			SELECT e.idempotency_key FROM iu_outbox.event AS e WHERE e.instance_key_suffix = $1::text
			UNION ALL
			SELECT j.event ->> 'idempotency_key' FROM iu_outbox.job AS j
			WHERE j.suffix = $1::text
			UNION ALL
			SELECT d.idempotency_key FROM iu_outbox.dead_letter AS d
			WHERE pg_catalog.left(d.event ->> 'instance_key_suffix', 200) COLLATE "C" = $1::text
		) AS k
		WHERE k.idempotency_key IS NOT NULL
		LIMIT 1`
)

// resolveInstance finds the event of an instance. If it was rolled back, only its announcement may be left, which names the
// event.
func (r *reader) resolveInstance(ctx context.Context, id uuid.UUID) (target, error) {
	found := target{instance: id}
	err := r.tx.QueryRow(ctx, `
		SELECT l.idempotency_key FROM public.iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = $1`, id).
		Scan(&found.key)
	if !errors.Is(err, pgx.ErrNoRows) {
		return found, err
	}
	var owner identity
	err = r.tx.QueryRow(ctx, `
		SELECT d.data ->> 'idempotency_key', (d.data ->> 'event_id')::uuid, (d.data ->> 'template_collection_id')::uuid,
			pg_catalog.substr(d.data ->> 'instance_key', pg_catalog.length('tpl-inst:auto:') + 1)
		FROM (SELECT e.event -> 'data' AS data FROM iu_outbox.emission_event AS e WHERE e.instance_collection_id = $1) AS d`, id).
		Scan(&owner.Key, &owner.Event, &owner.Template, &owner.Suffix)
	if err == nil {
		r.event(owner)
	}
	found.key = owner.Key
	return found, err
}

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

// resolvePrefix finds the one event whose id, instance id or idempotency key begins with a prefix.
func (r *reader) resolvePrefix(ctx context.Context, prefix string) (target, error) {
	low, high := bounds(prefix)
	found, err := operate.Collect(ctx, r.tx, func(row pgx.CollectableRow) (t target, err error) {
		err = row.Scan(&t.key, &t.event)
		return t, err
	}, `
		SELECT DISTINCT COALESCE(k.key, ''), CASE WHEN k.key IS NULL THEN k.event ELSE '00000000-0000-0000-0000-000000000000' END FROM (
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
	switch {
	case err != nil:
		return target{}, err
	case len(found) == 0:
		return target{}, pgx.ErrNoRows
	case len(found) == 1:
		return found[0], nil
	}
	several := &AmbiguousError{Prefix: prefix}
	for _, t := range found {
		_, value := t.column()
		several.References = append(several.References, value)
	}
	return target{}, several
}

// bounds returns the least and the greatest UUID that begin with a prefix.
func bounds(prefix string) (low, high string) {
	digits := strings.ReplaceAll(prefix, "-", "")
	digits = digits[:min(len(digits), 32)]
	return digits + strings.Repeat("0", 32-len(digits)), digits + strings.Repeat("f", 32-len(digits))
}
