package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const insertManySQL = `
	INSERT INTO iu_outbox.event AS e (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode,
		actor, note, priority, available_at, trace_context)
	SELECT COALESCE(n.event_id::uuid, pg_catalog.gen_random_uuid()), n.event_type, n.template_collection_id::uuid,
		n.instance_key_suffix, COALESCE(n.emit_mode, 'live'), COALESCE(n.actor, SESSION_USER), n.note,
		COALESCE(n.priority, 1), COALESCE(n.available_at, pg_catalog.now()), COALESCE(n.trace_context::jsonb, '{}')
	FROM ROWS FROM (
		pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]),
		pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[]),
		pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::integer[]), pg_catalog.unnest($9::timestamptz[]),
		pg_catalog.unnest($10::text[])
	) WITH ORDINALITY AS n (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note,
		priority, available_at, trace_context, ordinal)
	ORDER BY n.ordinal
	RETURNING e.id, e.event_id, e.idempotency_key, e.created_at`

// InsertMany inserts events in the caller's transaction by one statement, all of them or none, and answers their rows
// in the order of the events. Some thousands at a time are a good size.
func InsertMany(ctx context.Context, tx pgx.Tx, events []Event) ([]Inserted, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var c columns
	for _, event := range events {
		r, err := event.row(ctx)
		if err != nil {
			return nil, err
		}
		c.add(r)
	}
	rows, err := tx.Query(ctx, insertManySQL, c.args()...)
	if err != nil {
		return nil, fmt.Errorf("insert %d events: %w", len(events), invalid(err))
	}
	inserted, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Inserted])
	if err != nil {
		return nil, fmt.Errorf("insert %d events: %w", len(events), invalid(err))
	}
	return inserted, nil
}

// columns are rows turned around.
type columns struct {
	eventIDs, eventTypes, templates, suffixes, emitModes, actors, notes, traces []*string

	priorities   []*int32
	availableAts []*time.Time
}

func (c *columns) add(r row) {
	c.eventIDs = append(c.eventIDs, r.eventID)
	c.eventTypes = append(c.eventTypes, r.eventType)
	c.templates = append(c.templates, r.template)
	c.suffixes = append(c.suffixes, r.suffix)
	c.emitModes = append(c.emitModes, r.emitMode)
	c.actors = append(c.actors, r.actor)
	c.notes = append(c.notes, r.note)
	c.priorities = append(c.priorities, r.priority)
	c.availableAts = append(c.availableAts, r.availableAt)
	c.traces = append(c.traces, r.trace)
}

func (c *columns) args() []any {
	return []any{
		c.eventIDs, c.eventTypes, c.templates, c.suffixes, c.emitModes, c.actors, c.notes, c.priorities, c.availableAts, c.traces,
	}
}
