package operate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
)

// eventSource is a table with events. It is read by id, which grows with time.
type eventSource struct {
	table  string
	base   string // which of its rows are events of the list; "": all
	states []string
	loose  bool   // its rows are rare among many others: a page does not end because its search ended
	few    string // an indexed condition by which unfinished jobs are read if there are few

	at, state, reason, event, key, template, suffix, eventType, actor, mode string // expressions
	queue, job, letter, instance, position                                  string

	templateText string // the template as a text, if the table has that: it is cheaper to compare
}

// inJSON adds the expressions for an event that is JSON in the column event.
func inJSON(s eventSource) eventSource {
	of := func(name string) string { return "(s.event ->> '" + name + "')" }
	if s.key == "" {
		s.event, s.key = "iu_outbox.as_uuid"+of("event_id"), of("idempotency_key")
	}
	s.template, s.templateText = "iu_outbox.as_uuid"+of("template_collection_id"), of("template_collection_id")
	s.suffix, s.eventType, s.actor, s.mode = of("instance_key_suffix"), of("event_type"), of("actor"), of("emit_mode")
	return s
}

var eventSources = [...]eventSource{
	{
		table: "iu_outbox.event", states: []string{EventWaiting},
		at: "s.created_at", state: "'waiting'",
		reason: "CASE WHEN s.available_at > pg_catalog.now() THEN 'not before ' || iu_outbox.rfc3339(s.available_at) END",
		event:  "s.event_id", key: "s.idempotency_key", template: "s.template_collection_id", suffix: "s.instance_key_suffix",
		eventType: "s.event_type", actor: "s.actor", mode: "s.emit_mode",
	},
	inJSON(eventSource{
		table: "iu_outbox.job", base: "s.unfinished", few: "s.unfinished",
		states: []string{EventWaiting, EventWorking, EventParked},
		at:     "s.created_at", state: "s.event_state", reason: "s.reason", queue: "s.queue", job: "s.id",
	}),
	inJSON(eventSource{
		table: "iu_outbox.job", states: []string{EventDone}, loose: true,
		base: "s.state = 'completed' AND s.event ->> 'emit_mode' = 'dry_run' AND s.output ->> 'status' = 'instantiated'",
		at:   "s.created_at", state: "'done'", queue: "s.queue", job: "s.id",
		instance: "iu_outbox.as_uuid(s.output ->> 'instance_collection_id')",
	}),
	inJSON(eventSource{
		table: "iu_outbox.dead_letter", states: []string{EventDead},
		event: "s.event_id", key: "s.idempotency_key",
		at: "s.created_at", state: "'dead'", reason: "pg_catalog.concat_ws(': ', s.status, s.detail)", queue: "s.queue", job: "s.job_id", letter: "s.id",
	}),
	{
		table: "iu_outbox.emission_event", states: []string{EventDone, EventRolledBack},
		at: "s.created_at", state: "CASE WHEN s.rolled_back_at IS NULL THEN 'done' ELSE 'rolled_back' END",
		event: "(s.event #>> '{data,event_id}')::uuid", key: "s.event #>> '{data,idempotency_key}'",
		template: "(s.event #>> '{data,template_collection_id}')::uuid",
		suffix:   "pg_catalog.substr(s.event #>> '{data,instance_key}', 15)", eventType: "s.event #>> '{data,event_type}'",
		actor: "s.event #>> '{data,actor}'", mode: "'live'", instance: "s.instance_collection_id", position: "s.position",
	},
}

func (s *eventSource) has(state string) bool { return state == "" || slices.Contains(s.states, state) }

// fewRows is the most rows of a source that are read by its indexed condition and sorted.
const fewRows = 50_000

// where holds the conditions and arguments of a statement.
type where struct {
	conditions []string
	args       []any
}

func (w *where) add(condition string, args ...any) {
	for i := range args {
		condition = strings.Replace(condition, "{}", fmt.Sprintf("$%d", len(w.args)+i+1), 1)
	}
	w.conditions, w.args = append(w.conditions, condition), append(w.args, args...)
}

func (w *where) sql() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// readSource reads the next rows of a source.
func (l *eventList) readSource(ctx context.Context, index int, source eventSource) (sourceRows, error) {
	scan, order := where{}, "DESC"
	if l.from.newer {
		order = "ASC"
		scan.add("s.id > {}", l.from.ids[index])
	} else {
		scan.add("s.id < {}", l.from.ids[index])
	}
	if err := l.boundByTime(ctx, source, &scan); err != nil {
		return sourceRows{}, err
	}
	filter := where{args: scan.args}
	l.filterBy(source, &filter)
	bounded := source.base != "" || len(filter.conditions) > 0
	if bounded && source.few != "" {
		var n int
		if err := l.tx.QueryRow(ctx, "SELECT iu_outbox.count_unfinished($1)", fewRows+1).Scan(&n); err != nil {
			return sourceRows{}, err
		}
		if n <= fewRows {
			bounded = false
			scan.add(source.few)
		}
	}
	rest := where{args: filter.args, conditions: slices.Clone(filter.conditions)}
	if source.base != "" {
		rest.add(source.base)
	}
	from := source.table + " AS s" + scan.sql()
	if bounded {
		from = "(SELECT * FROM " + from + fmt.Sprintf(" ORDER BY s.id %s LIMIT %d) AS s", order, l.scan) + rest.sql()
	} else if len(rest.conditions) > 0 { // compute the columns only for the returned rows, not for all that are sorted
		from = "(SELECT * FROM " + from + " AND " + strings.Join(rest.conditions, " AND ") +
			fmt.Sprintf(" ORDER BY s.id %s LIMIT %d) AS s", order, l.limit+1)
	}
	read := sourceRows{ended: true}
	rows, err := l.tx.Query(ctx, source.columns()+" FROM "+from+fmt.Sprintf(" ORDER BY s.id %s LIMIT %d", order, l.limit+1), filter.args...)
	if err != nil {
		return read, err
	}
	read.rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (EventRow, error) { return scanEvent(row, index) })
	if err != nil || len(read.rows) > l.limit {
		read.ended = false
		return read, err
	}
	if !bounded {
		return read, nil
	}
	// The last row that was searched.
	err = l.tx.QueryRow(ctx, fmt.Sprintf("SELECT s.id, %s FROM %s AS s%s ORDER BY s.id %s OFFSET %d LIMIT 1",
		source.at, source.table, scan.sql(), order, l.scan-1), scan.args...).Scan(&read.to, &read.at)
	if errors.Is(err, pgx.ErrNoRows) {
		return read, nil
	}
	read.ended = false
	return read, err
}

func (s *eventSource) columns() string {
	return "SELECT s.id, " + strings.Join([]string{
		s.at, s.state, cmp.Or(s.reason, "NULL::text"), s.event, "COALESCE(" + s.key + ", '')", s.template, "COALESCE(" + s.suffix + ", '')",
		"COALESCE(" + s.eventType + ", '')", "COALESCE(" + s.actor + ", '')", "COALESCE(" + s.mode + ", '')", cmp.Or(s.queue, "NULL::text"),
		cmp.Or(s.job, "NULL::bigint"), cmp.Or(s.letter, "NULL::bigint"), cmp.Or(s.instance, "NULL::uuid"), cmp.Or(s.position, "NULL::bigint"),
	}, ", ")
}

func scanEvent(row pgx.CollectableRow, source int) (EventRow, error) {
	e := EventRow{source: source}
	err := row.Scan(&e.id, &e.At, &e.State, &e.Reason, &e.EventID, &e.IdempotencyKey, &e.TemplateID, &e.Suffix, &e.EventType, &e.Actor, &e.EmitMode,
		&e.Queue, &e.JobID, &e.DeadLetterID, &e.InstanceID, &e.Position)
	return e, err
}

func (l *eventList) filterBy(source eventSource, w *where) {
	f := l.filter
	add := func(given bool, condition string, value any) {
		if given {
			w.add(condition, value)
		}
	}
	add(f.State != "" && len(source.states) > 1, "("+source.state+") = {}", f.State)
	if source.templateText != "" {
		add(f.Template != uuid.Nil, source.templateText+" = {}", f.Template.String())
	} else {
		add(f.Template != uuid.Nil, "("+source.template+") = {}", f.Template)
	}
	add(f.Suffix != "", "pg_catalog.starts_with("+source.suffix+", {})", f.Suffix)
	add(f.Actor != "", source.actor+" = {}", f.Actor)
	add(f.EventType != "", source.eventType+" = {}", f.EventType)
	add(!f.Since.IsZero(), source.at+" >= {}", f.Since)
	add(!f.Until.IsZero(), source.at+" < {}", f.Until)
}

// timeSlack is how far the order of ids may differ from the order of times.
const timeSlack = 2 * time.Minute

// boundByTime limits the ids to those of the filter's span of time.
func (l *eventList) boundByTime(ctx context.Context, source eventSource, scan *where) error {
	if !l.filter.Since.IsZero() {
		id, err := l.idAt(ctx, source, l.filter.Since.Add(-timeSlack))
		if err != nil {
			return err
		}
		scan.add("s.id >= {}", id)
	}
	if !l.filter.Until.IsZero() {
		id, err := l.idAt(ctx, source, l.filter.Until.Add(timeSlack))
		if err != nil {
			return err
		}
		scan.add("s.id < {}", id)
	}
	return nil
}

// idAt returns the lowest id whose row is not older than at, by binary search.
func (l *eventList) idAt(ctx context.Context, source eventSource, at time.Time) (int64, error) {
	var low, high int64
	err := l.tx.QueryRow(ctx, "SELECT COALESCE(pg_catalog.min(s.id), 1), COALESCE(pg_catalog.max(s.id), 0) + 1 FROM "+source.table+" AS s").Scan(&low, &high)
	for err == nil && low < high {
		middle := low + (high-low)/2
		var id int64
		var when time.Time
		err = l.tx.QueryRow(ctx, "SELECT s.id, "+source.at+" FROM "+source.table+" AS s WHERE s.id >= $1 ORDER BY s.id LIMIT 1", middle).Scan(&id, &when)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			high, err = middle, nil
		case err == nil && when.Before(at):
			low = id + 1
		case err == nil:
			high = middle
		}
	}
	return low, err
}

// complete adds the templates' keys and how long composing took, which the sources do not have.
func (l *eventList) complete(ctx context.Context, events []EventRow) error {
	var templates []uuid.UUID
	var keys []string
	for i := range events {
		if events[i].TemplateID != nil {
			templates = append(templates, *events[i].TemplateID)
		}
		if events[i].State == EventDone || events[i].State == EventRolledBack {
			keys = append(keys, events[i].IdempotencyKey)
		}
	}
	var names map[uuid.UUID]string
	err := l.tx.QueryRow(ctx, `
		SELECT COALESCE(pg_catalog.jsonb_object_agg(c.id, c.collection_key), '{}')
		FROM public.iu_piece_collection AS c WHERE c.id = ANY ($1)`, templates).Scan(&names)
	if err != nil {
		return err
	}
	took, err := l.durations(ctx, keys)
	if err != nil {
		return err
	}
	for i := range events {
		if events[i].TemplateID != nil {
			if name, ok := names[*events[i].TemplateID]; ok {
				events[i].TemplateKey = &name
			}
		}
		if seconds, ok := took[events[i].IdempotencyKey]; ok && events[i].State != EventDead {
			events[i].Seconds = &seconds
		}
	}
	return nil
}

// durations returns, by idempotency key, how long composing took, for the jobs that River still keeps.
func (l *eventList) durations(ctx context.Context, keys []string) (map[string]float64, error) {
	rows, err := l.tx.Query(ctx, `
		SELECT k.key, j.event, j.created_at, j.finalized_at
		FROM pg_catalog.unnest($1::text[]) AS k (key)
		CROSS JOIN LATERAL (
			SELECT j.event, j.created_at, j.finalized_at FROM iu_outbox.job AS j
			WHERE j.idempotency_key = k.key AND j.state = 'completed'
			  AND j.output ->> 'status' = 'instantiated'
			LIMIT 1) AS j`, keys)
	if err != nil {
		return nil, err
	}
	took := map[string]float64{}
	var key string
	var text []byte
	var created, ended time.Time
	_, err = pgx.ForEachRow(rows, []any{&key, &text, &created, &ended}, func() error {
		var args jobs.AutoInstantiateArgs
		if json.Unmarshal(text, &args) != nil {
			return nil //nolint:nilerr // not a job of ours
		}
		began := args.Due()
		if began.IsZero() {
			began = created
		}
		took[key] = max(ended.Sub(began), 0).Seconds()
		return nil
	})
	return took, err
}
