package operate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

// eventful inserts n events of every state, a second apart, oldest first. It returns the id of their template, "letter".
func eventful(t testing.TB, n int) (*iutest.DB, uuid.UUID) {
	t.Helper()
	db := iutest.New(t)
	template := db.Template(t, "letter", 1)
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor, created_at)
		SELECT 'order.placed', CASE WHEN i % 3 = 0 THEN gen_random_uuid() ELSE $2 END, 'out-' || i, 'ann', '2026-01-01Z'::timestamptz + i * interval '1 second'
		FROM generate_series(1, $1::int) AS i`, n, template)
	job := `
		INSERT INTO iu_river.river_job (args, kind, max_attempts, queue, state, metadata, attempt, created_at, scheduled_at, finalized_at)
		SELECT jsonb_build_object('event_id', e.id, 'template_collection_id', $2::uuid, 'instance_key_suffix', $3::text || i, 'emit_mode', $4::text,
				'actor', CASE WHEN i % 2 = 0 THEN 'ann' ELSE 'bob' END, 'event_type', 'order.placed', 'idempotency_key', md5(e.id::text),
				'created_at', '2026-01-01T00:00:00Z'),
			'auto_instantiate', 10, 'events', $5::iu_river.river_job_state, $6::jsonb, 0,
			'2026-01-01Z'::timestamptz + (i + $7 * $1::int) * interval '1 second', '2030-01-01', CASE WHEN $5 = 'completed' THEN now() END
		FROM generate_series(1, $1::int) AS i, LATERAL (SELECT gen_random_uuid() AS id WHERE i > 0) AS e`
	db.Exec(t, job, n, template, "working-", "live", "available", "{}", 0)
	db.Exec(t, job, n, template, "parked-", "live", "scheduled", `{"parked": {"gate": "composer", "reason": "composer_disabled"}}`, 1)
	db.Exec(t, job, n, template, "later-", "live", "scheduled", `{}`, 2)
	db.Exec(t, job, n, template, "dry-", "dry_run", "completed", `{"output": {"status": "instantiated", "instance_collection_id": "`+uuid.NewString()+`"}}`, 3)
	db.Exec(t, job, n, template, "live-", "live", "completed", `{"output": {"status": "instantiated"}}`, 4) // its emission is in the list, not the job
	db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, idempotency_key, event, queue, attempts, created_at)
		SELECT 1000000 + i, 'template_not_marked', 'it is not', e.id, md5(e.id::text), jsonb_build_object('event_id', e.id, 'template_collection_id', $2::uuid,
			'instance_key_suffix', 'dead-' || i, 'emit_mode', 'live', 'actor', 'ann', 'event_type', 'signup'), 'events', 1,
			'2026-01-01Z'::timestamptz + i * interval '1 second'
		FROM generate_series(1, $1::int) AS i, LATERAL (SELECT gen_random_uuid() AS id WHERE i > 0) AS e`, n, template)
	db.Exec(t, `
		INSERT INTO iu_outbox.emission (instance_collection_id, event, created_at, position, emitted_at, rolled_back_at)
		SELECT e.id, jsonb_build_object('data', jsonb_build_object('event_id', e.id, 'template_collection_id', $2::uuid, 'idempotency_key', md5(e.id::text),
			'instance_key', 'tpl-inst:auto:done-' || i, 'actor', 'bob', 'event_type', 'order.placed')),
			'2026-01-01Z'::timestamptz + i * interval '1 second', i, now(), CASE WHEN i % 4 = 0 THEN now() END
		FROM generate_series(1, $1::int) AS i, LATERAL (SELECT gen_random_uuid() AS id WHERE i > 0) AS e`, n, template)
	return db, template
}

func suffixes(events []operate.EventRow) []string {
	all := make([]string, len(events))
	for i := range events {
		all[i] = events[i].Suffix
	}
	return all
}

func TestEventsListsEveryState(t *testing.T) {
	t.Parallel()
	db, _ := eventful(t, 4)
	page, err := operate.Events(t.Context(), db.Pool, operate.EventFilter{}, "", 100)
	require.NoError(t, err)
	require.Len(t, page.Events, 7*4, "a live event that is done is listed once")
	require.Empty(t, page.Older+page.Newer)
	require.Nil(t, page.SearchedTo)
	require.True(t, slices.IsSortedFunc(page.Events, func(a, b operate.EventRow) int { return b.At.Compare(a.At) }), suffixes(page.Events))
	states := map[string]int{}
	for _, e := range page.Events {
		states[e.State]++
		require.NotEmpty(t, e.IdempotencyKey)
		require.NotNil(t, e.EventID)
		if e.TemplateKey != nil {
			require.Equal(t, "letter", *e.TemplateKey)
		}
	}
	require.Equal(t, map[string]int{"waiting": 8, "working": 4, "parked": 4, "done": 4 + 3, "rolled_back": 1, "dead": 4}, states)
	for _, state := range operate.EventStates {
		page, err := operate.Events(t.Context(), db.Pool, operate.EventFilter{State: state}, "", 100)
		require.NoError(t, err)
		require.Len(t, page.Events, states[state], state)
	}
}

// Pages follow each other without a gap in both directions, however few rows a page reads.
func TestEventsPagesFollowEachOther(t *testing.T) {
	t.Parallel()
	db, template := eventful(t, 30)
	for name, filter := range map[string]operate.EventFilter{
		"all":      {},
		"actor":    {Actor: "ann"},
		"type":     {EventType: "signup"},
		"template": {Template: template, State: operate.EventWaiting},
		"suffix":   {Suffix: "done-2"},
		"time": {
			Since: time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC), Until: time.Date(2026, 1, 1, 0, 0, 20, 0, time.UTC),
		},
		"none": {Actor: "nobody"},
	} {
		for _, scan := range []int{8, 10_000} {
			whole, err := operate.Events(t.Context(), db.Pool, filter, "", 1000)
			require.NoError(t, err)
			var got []string
			place, last := "", ""
			for range 200 {
				page, err := operate.ListEvents(t.Context(), db.Pool, filter, place, 7, scan)
				require.NoError(t, err, name)
				got = append(got, suffixes(page.Events)...)
				if page.Older == "" {
					break
				}
				require.NotEqual(t, place, page.Older, "%s: it makes no progress", name)
				place, last = page.Older, page.Newer
			}
			require.ElementsMatch(t, suffixes(whole.Events), got, "%s, %d rows a page", name, scan)
			if scan == 8 || last == "" {
				continue
			}
			// Back to the first page.
			page, err := operate.ListEvents(t.Context(), db.Pool, filter, place, 7, scan)
			require.NoError(t, err)
			back := suffixes(page.Events)
			for page.Newer != "" {
				page, err = operate.ListEvents(t.Context(), db.Pool, filter, page.Newer, 7, scan)
				require.NoError(t, err)
				back = append(suffixes(page.Events), back...)
			}
			require.ElementsMatch(t, suffixes(whole.Events), back, name)
		}
	}
}

func TestEventsRefusesAStrangePlace(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, place := range []string{"x", "1.2.3", "-1.2.3.4", "--1.1.1.1.1", "1.1.1.1.1.1", "-", "1.1.1.1.?"} {
		_, err := operate.Events(t.Context(), db.Pool, operate.EventFilter{}, place, 10)
		require.ErrorIs(t, err, operate.ErrEventPlace, place)
	}
}

func TestEventsFiltersAreExact(t *testing.T) {
	t.Parallel()
	db, template := eventful(t, 12)
	whole, err := operate.Events(t.Context(), db.Pool, operate.EventFilter{}, "", 1000)
	require.NoError(t, err)
	since, until := time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 9, 0, time.UTC)
	for name, f := range map[string]struct {
		filter operate.EventFilter
		chosen func(operate.EventRow) bool
	}{
		"template": {operate.EventFilter{Template: template}, func(e operate.EventRow) bool { return e.TemplateKey != nil }},
		"suffix":   {operate.EventFilter{Suffix: "dry-1"}, func(e operate.EventRow) bool { return len(e.Suffix) >= 5 && e.Suffix[:5] == "dry-1" }},
		"time":     {operate.EventFilter{Since: since, Until: until}, func(e operate.EventRow) bool { return !e.At.Before(since) && e.At.Before(until) }},
		"actor":    {operate.EventFilter{Actor: "bob", State: "parked"}, func(e operate.EventRow) bool { return e.Actor == "bob" && e.State == "parked" }},
	} {
		page, err := operate.Events(t.Context(), db.Pool, f.filter, "", 1000)
		require.NoError(t, err)
		var want []operate.EventRow
		for _, e := range whole.Events {
			if f.chosen(e) {
				want = append(want, e)
			}
		}
		require.NotEmpty(t, want, name)
		require.ElementsMatch(t, suffixes(want), suffixes(page.Events), name)
	}
}
