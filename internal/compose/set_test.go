package compose_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

// A history is what both ways of composing go through: steps, each with one kind of change, or a batch.
type history struct {
	templates []drawnTemplate
	steps     []step
}

type drawnTemplate struct {
	id      uuid.UUID
	pieces  int
	exists  bool
	marked  string // true, false, or empty: never
	title   string
	missing int // position of a piece that is not active, 0: none
}

type step struct {
	batch  []drawnEvent
	change string // SQL; what a batch's arguments could not hold
	args   []any
}

type drawnEvent struct {
	id, template                           uuid.UUID
	kind, suffix, mode, actor, note, trace *string
}

const aTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 v=1"

func drawHistory(t *rapid.T) history {
	id := func(kind string, n int) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, kind, n)) }
	var h history
	for i := range rapid.IntRange(1, 4).Draw(t, "templates") {
		h.templates = append(h.templates, drawnTemplate{
			id: id("template", i), exists: rapid.IntRange(0, 9).Draw(t, "exists") > 0,
			pieces:  rapid.SampledFrom([]int{0, 1, 2, 3, 12, 12, 100, 101, 130}).Draw(t, "pieces"),
			marked:  rapid.SampledFrom([]string{"true", "true", "true", "true", "false", ""}).Draw(t, "marked"),
			title:   rapid.SampledFrom([]string{"A title", "A title", "  ", "Ünï'\"\\ %s", "\t"}).Draw(t, "title"),
			missing: rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "inactive piece"),
		})
	}
	template := func() uuid.UUID { return h.templates[rapid.IntRange(0, len(h.templates)-1).Draw(t, "template")].id }
	text := func(label string, of ...string) *string { s := rapid.SampledFrom(of).Draw(t, label); return &s }
	event := rapid.Custom(func(t *rapid.T) drawnEvent {
		e := drawnEvent{
			id: id("event", rapid.IntRange(0, 30).Draw(t, "event")), template: template(), kind: text("type", "e", "e", "e", "order.placed", " ", ""),
			suffix: text("suffix", "a", "b", "c", "d", "e", "f", "g", "h", "ß—'\"\\:%", "x y", " ", "", "\t",
				strings.Repeat("é", 200), strings.Repeat("z", 201)),
			mode: text("mode", "live", "live", "live", "dry_run", "neither"), actor: text("actor", "anna", "anna", "bert", "Ünï", " "),
			trace: text("trace", "", "", aTrace, "no trace"),
		}
		if rapid.Bool().Draw(t, "has a note") {
			e.note = text("note", "", "a note", "'); -- \\ \"")
		}
		return e
	})
	gate := `UPDATE dot_config SET value = $2 WHERE key = $1`
	for range rapid.IntRange(1, 8).Draw(t, "steps") {
		switch rapid.IntRange(0, 11).Draw(t, "kind") {
		case 0, 10, 11:
			h.steps = append(h.steps, step{change: gate, args: []any{
				*text("gate", "iu_core.composer_enabled", "iu_core.auto_instantiate_enabled", "iu_core.auto_instantiate_enabled"),
				*text("value", "false", "on", "true", " TRUE")}})
		case 1:
			h.steps = append(h.steps, step{change: "SELECT fn_iu_auto_instantiate_rollback_by_actor($1, false)", args: []any{*text("actor", "anna", "bert")}})
		case 2:
			h.steps = append(h.steps, step{
				change: "UPDATE iu_piece_membership SET is_active = NOT is_active WHERE collection_id = $1 AND position = $2",
				args:   []any{template(), rapid.IntRange(1, 3).Draw(t, "position")}})
		case 3:
			h.steps = append(h.steps, step{
				change: "SELECT fn_iu_collection_mark_template($1, 'editor', $2)", args: []any{template(), rapid.Bool().Draw(t, "mark")}})
		case 4:
			h.steps = append(h.steps, step{change: "SELECT iu_outbox.emit(10)"})
		default:
			h.steps = append(h.steps, step{batch: rapid.SliceOfN(event, 1, 40).Draw(t, "batch")})
		}
	}
	return h
}

// way is one of the two ways of composing, in a database of its own.
type way struct {
	db    *iutest.DB
	least *int // events of one template that make a set; nil: each is called for

}

func (w *way) begin(t *rapid.T, h history) {
	ctx := context.Background()
	exec := func(sql string, args ...any) {
		_, err := w.db.Pool.Exec(ctx, sql, args...)
		require.NoError(t, err, sql)
	}
	exec("TRUNCATE iu_piece_collection, iu_piece, iu_outbox.emission CASCADE")
	exec("UPDATE dot_config SET value = 'true' WHERE key LIKE 'iu_core.%enabled'")
	for i, d := range h.templates {
		if !d.exists {
			continue
		}
		exec(`INSERT INTO iu_piece_collection (id, collection_key, title, created_by) VALUES ($1, $2, $3, 'me')`, d.id, fmt.Sprint("template-", i), d.title)
		exec(`WITH piece AS (
				INSERT INTO iu_piece (id, piece_key, body, created_by)
				SELECT md5($2 || n)::uuid, $2 || n, to_jsonb(n), 'me' FROM generate_series(1, $3::int) AS n
				RETURNING id, to_jsonb(body)::int AS n)
			INSERT INTO iu_piece_membership (collection_id, piece_id, position, is_active) SELECT $1, p.id, p.n, p.n <> $4 FROM piece AS p`,
			d.id, fmt.Sprintf("piece-%d-", i), d.pieces, d.missing)
		if d.marked != "" {
			exec("SELECT fn_iu_collection_mark_template($1, 'me', $2)", d.id, d.marked == "true")
		}
	}
}

// compose returns the results of a batch, without ids, in its order.
func (w *way) compose(t *rapid.T, batch []drawnEvent) []string {
	n := len(batch)
	ids, templates, texts := make([]uuid.UUID, n), make([]uuid.UUID, n), [6][]*string{}
	for i, e := range batch {
		ids[i], templates[i] = e.id, e.template
		for j, text := range []*string{e.kind, e.suffix, e.mode, e.actor, e.note, e.trace} {
			texts[j] = append(texts[j], text)
		}
	}
	results := make([]string, n)
	rows, err := w.db.Pool.Query(context.Background(), `
		SELECT b.n, (b.result - 'instance_collection_id')::text FROM iu_outbox.compose_batch($1, $2, $3, $4, $5, $6, $7, $8, NULL, NULL, $9) AS b`,
		ids, texts[0], templates, texts[1], texts[2], texts[3], texts[4], texts[5], w.least)
	require.NoError(t, err)
	var at int
	var result string
	_, err = pgx.ForEachRow(rows, []any{&at, &result}, func() error {
		results[at-1] += result
		return nil
	})
	require.NoError(t, err)
	return results
}

// rows returns all rows, without ids and times.
func (w *way) rows(t *rapid.T) (all []string) {
	rows, err := w.db.Pool.Query(context.Background(), `
		SELECT jsonb_build_array('collection', c.collection_key, c.title, c.created_by, c.note)::text FROM iu_piece_collection AS c
		UNION ALL
		SELECT jsonb_build_array('membership', c.collection_key, p.piece_key, m.position, m.is_active)::text
		FROM iu_piece_membership AS m JOIN iu_piece_collection AS c ON c.id = m.collection_id JOIN iu_piece AS p ON p.id = m.piece_id
		UNION ALL
		SELECT jsonb_build_array('lineage', c.collection_key, t.collection_key, l.template_version, l.template_digest, l.recorded_by, l.note)::text
		FROM iu_collection_template_instance_lineage AS l
		JOIN iu_piece_collection AS c ON c.id = l.instance_collection_id JOIN iu_piece_collection AS t ON t.id = l.template_collection_id
		UNION ALL
		SELECT jsonb_build_array('log', c.collection_key, l.template_collection_id, l.event_id, l.event_type, l.idempotency_key,
			l.emit_mode, l.triggered_by)::text
		FROM iu_auto_instantiate_event_log AS l JOIN iu_piece_collection AS c ON c.id = l.instance_collection_id
		UNION ALL
		SELECT jsonb_build_array('emission', e.position IS NULL, e.rolled_back_at IS NULL,
			(e.event - ARRAY['id', 'time', 'source', 'position', 'cursor', 'rolledbackat']) #- '{data,instance_collection_id}')::text
		FROM iu_outbox.emission_event AS e
		UNION ALL
		SELECT jsonb_build_array('settled', s.key, s.how)::text FROM iu_outbox.settled AS s
		ORDER BY 1`)
	require.NoError(t, err)
	all, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

func (w *way) change(t *rapid.T, s step) {
	_, err := w.db.Pool.Exec(context.Background(), s.change, s.args...)
	require.NoError(t, err, s.change)
}

// Whatever happens, a batch leaves the same statuses, rows and emissions, whether it is composed in sets or an event at a time.
func TestSetsComposeWhatTheFunctionComposes(t *testing.T) {
	t.Parallel()
	least := 1
	byFunction, bySet := way{db: iutest.New(t)}, way{db: iutest.New(t), least: &least}
	instantiated := 0
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		byFunction.begin(t, h)
		bySet.begin(t, h)
		for _, s := range h.steps {
			if s.batch == nil {
				byFunction.change(t, s)
				bySet.change(t, s)
				continue
			}
			results := bySet.compose(t, s.batch)
			require.Equal(t, byFunction.compose(t, s.batch), results)
			instantiated += strings.Count(strings.Join(results, ""), `"instantiated"`)
		}
		require.Equal(t, byFunction.rows(t), bySet.rows(t))
	})
	require.Positive(t, instantiated)
}

// Of the events of one key the first one counts, however many others are in the batch.
func TestFirstEventOfAKeyIsComposed(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]string{
		"by function": "compose_batch(e.ids, e.texts, e.templates, e.suffixes, e.modes, e.actors, e.none, e.none, NULL, NULL, NULL)",
		"in sets":     "compose_batch(e.ids, e.texts, e.templates, e.suffixes, e.modes, e.actors, e.none, e.none, NULL, NULL, 1)",
		"apart":       "compose_apart(e.ids, e.texts, e.templates, e.suffixes, e.modes, e.actors, e.none, e.none)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			const keys, times = 20, 3
			var statuses, actors []string
			require.NoError(t, db.Pool.QueryRow(t.Context(), `
				WITH e AS (
					SELECT array_agg(md5(key::text)::uuid ORDER BY time, key) AS ids, array_agg('e'::text) AS texts, array_agg($1::uuid) AS templates,
					       array_agg('s' || key ORDER BY time, key) AS suffixes, array_agg('live'::text) AS modes,
					       array_agg('actor ' || time ORDER BY time, key) AS actors, array_agg(NULL::text) AS none
					FROM generate_series(1, $2::int) AS key, generate_series(1, $3::int) AS time)
				SELECT array_agg(b.result ->> 'status' ORDER BY b.n) FROM e, iu_outbox.`+call+` AS b`,
				db.Template(t, "t", 1), keys, times).Scan(&statuses))
			require.Equal(t, slices.Concat(slices.Repeat([]string{"instantiated"}, keys),
				slices.Repeat([]string{"idempotent_replay"}, keys*(times-1))), statuses)
			require.NoError(t, db.Pool.QueryRow(t.Context(),
				"SELECT array_agg(DISTINCT l.triggered_by) FROM iu_auto_instantiate_event_log AS l").Scan(&actors))
			require.Equal(t, []string{"actor 1"}, actors)
		})
	}
}

// A set is made of what is plain, and of nothing else.
func TestSetAside(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	plain, big := db.Template(t, "plain", 3), db.Template(t, "big", 101)
	set := func(template uuid.UUID, suffixes ...string) (composed []int) {
		rows, err := db.Pool.Query(t.Context(), `
			SELECT s.n FROM iu_outbox.compose_set($1::uuid, ARRAY(
				SELECT ROW(u.n, md5(u.suffix)::uuid, 'e', $1::uuid, u.suffix, 'live', 'a', NULL, NULL,
					md5(md5(u.suffix)::uuid || ':' || $1::uuid || ':' || u.suffix), NULL)::iu_outbox.batch_event
				FROM unnest($2::text[]) WITH ORDINALITY AS u (suffix, n))) AS s ORDER BY s.n`, template, suffixes)
		require.NoError(t, err)
		composed, err = pgx.CollectRows(rows, pgx.RowTo[int])
		require.NoError(t, err)
		return composed
	}
	require.Equal(t, []int{1, 3}, set(plain, "a", " ", "b"))
	require.Equal(t, []int{1, 3}, set(plain, "c", "a", "d"), "a replay")
	require.Empty(t, set(big, "g", "h"))
	db.Exec(t, "SELECT fn_iu_compose('tpl-inst:auto:i', 'taken', ARRAY(SELECT id FROM iu_piece LIMIT 1), 'somebody')")
	require.Equal(t, []int{1}, set(plain, "j", "i"), "a key that is taken")

	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	_, err = tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock(hashtextextended('iu_core.auto_instantiate:k', 0))")
	require.NoError(t, err)
	require.Equal(t, []int{2}, set(plain, "k", "l"), "a key that is held")

	db.Exec(t, "UPDATE dot_config SET value = 'false' WHERE key = 'iu_core.auto_instantiate_enabled'")
	require.Empty(t, set(plain, "m"))
	var random int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT count(*) FROM iu_piece_collection
		WHERE collection_key LIKE 'tpl-inst:%' AND id::text !~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]'`).Scan(&random))
	require.Zero(t, random, "ids that are no UUID of version 7")
}

// Sets are composed only on the functions of iu-core that this program knows.
func TestObstaclesToSets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, obstacle string }{
		"none": {"SELECT 1", ""},
		"a body": {`CREATE OR REPLACE FUNCTION fn_iu_composer_enabled() RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'`,
			"iu-core has its own fn_iu_composer_enabled"},
		"a setting":         {"ALTER FUNCTION fn_iu_compose(text, text, uuid[], text, text) SET work_mem = '1MB'", "iu-core has its own fn_iu_compose"},
		"another signature": {"ALTER FUNCTION fn_iu_collection_digest(uuid) RENAME TO fn_digest", "iu-core has its own fn_iu_collection_digest"},
		"no privilege": {"CREATE ROLE other_owner_of_sets; GRANT USAGE ON SCHEMA iu_outbox, public TO other_owner_of_sets; " +
			"GRANT CREATE ON SCHEMA iu_outbox TO other_owner_of_sets; " +
			"ALTER FUNCTION iu_outbox.set_obstacle() OWNER TO other_owner_of_sets; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA iu_outbox TO other_owner_of_sets",
			"role other_owner_of_sets may not write public.iu_auto_instantiate_event_log, public.iu_collection_template_instance_lineage, " +
				"public.iu_piece_collection, public.iu_piece_membership"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.Exec(t, c.change)
			var obstacle string
			require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT COALESCE(iu_outbox.set_obstacle(), '')").Scan(&obstacle))
			require.Equal(t, c.obstacle, obstacle)
			if name == "no privilege" {
				db.Exec(t, "DROP OWNED BY other_owner_of_sets CASCADE; DROP ROLE other_owner_of_sets")
			}
		})
	}
}

// Two batchers, the function under another session and a rollback work on the same keys: nothing deadlocks, nothing fails, and what
// was composed is whole.
func TestSetsBesideTheFunctionAndARollback(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 5)
	events := make([]jobs.AutoInstantiateArgs, 60)
	for i := range events {
		events[i] = event(template, fmt.Sprint("s-", i))
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	var group sync.WaitGroup
	var replayed atomic.Int64
	for range 2 {
		b := batcher(t, db, 2)
		group.Go(func() {
			for range 15 {
				for _, done := range together(ctx, b, events...) {
					if done.err != nil {
						require.ErrorIs(t, done.err, compose.ErrKeyHeld)
					} else if done.result.Status == jobs.StatusIdempotentReplay {
						replayed.Add(1)
					}
				}
			}
		})
	}
	group.Go(func() {
		for i := range 300 {
			e := events[i%len(events)]
			var result []byte
			require.NoError(t, db.Pool.QueryRow(ctx, "SELECT fn_iu_auto_instantiate_from_event($1, $2, $3, $4, 'live', 'a')",
				e.EventID, e.EventType, template, e.InstanceKeySuffix).Scan(&result))
			var status struct{ Status string }
			require.NoError(t, json.Unmarshal(result, &status))
			require.Contains(t, []string{"instantiated", "idempotent_replay"}, status.Status)
		}
	})
	group.Go(func() {
		for range 25 {
			_, err := db.Pool.Exec(ctx, "SELECT fn_iu_auto_instantiate_rollback_by_actor('a', false)")
			require.NoError(t, err)
		}
	})
	group.Wait()
	var broken int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT count(*) FROM iu_piece_collection AS c
		LEFT JOIN iu_auto_instantiate_event_log AS l ON l.instance_collection_id = c.id
		LEFT JOIN iu_outbox.emission AS e ON e.instance_collection_id = c.id
		WHERE c.collection_key LIKE 'tpl-inst:auto:%'
		  AND (l IS NULL OR e IS NULL OR (SELECT count(*) FROM iu_piece_membership AS m WHERE m.collection_id = c.id) <> 5)`).Scan(&broken))
	require.Zero(t, broken)
	require.Positive(t, replayed.Load())
}

// A batch completes the jobs whose events ended well, in its own transaction: not those of another attempt, and not those that
// somebody has locked.
func TestBatchCompletesItsJobs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		INSERT INTO iu_river.river_job (id, kind, queue, state, args, attempt, attempted_at, attempted_by, max_attempts, metadata)
		SELECT n, 'auto_instantiate', 'events', 'running', '{}', 2, now(), '{w}', 10, '{"kept": 1}' FROM generate_series(1, 5) AS n`)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM iu_river.river_job WHERE id = 3 FOR UPDATE")
	require.NoError(t, err)

	rows, err := db.Pool.Query(t.Context(), `
		SELECT b.completed FROM iu_outbox.compose_batch(ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 5)), array_fill('e'::text, ARRAY[5]),
			array_fill($1::uuid, ARRAY[5]), '{a,b,c,d," "}', array_fill('live'::text, ARRAY[5]), array_fill('a'::text, ARRAY[5]),
			array_fill(NULL::text, ARRAY[5]), array_fill(''::text, ARRAY[5]), '{1,2,3,4,5}', '{2,1,2,2,2}', 2) AS b ORDER BY b.n`, template)
	require.NoError(t, err)
	completed, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, false, true, false}, completed, "another attempt, a lock, a refusal")
	var done []int64
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT array_agg(j.id ORDER BY j.id) FROM iu_river.river_job AS j
		WHERE j.state = 'completed' AND j.finalized_at IS NOT NULL AND j.metadata ->> 'kept' = '1'
		  AND (j.metadata #>> '{output,instance_collection_id}')::uuid IN (
			SELECT l.instance_collection_id FROM iu_auto_instantiate_event_log AS l)`).Scan(&done))
	require.Equal(t, []int64{1, 4}, done)
	instances, _ := count(t, db)
	require.Equal(t, 4, instances)
}

// A batch that takes long is composed by several statements, so that it meets no timeout.
func TestBatchThatTakesLongIsComposedInParts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE INSERT ON iu_piece_collection FOR EACH ROW EXECUTE FUNCTION public.slow()`)
	const events = 20
	composed := func(name string) (batches []compose.Batch) {
		b := compose.NewBatcher(compose.BatcherConfig{
			Pool: db.Pool, Lanes: 1, ByFunction: true, Observe: func(b compose.Batch) { batches = append(batches, b) },
		})
		all := make([]jobs.AutoInstantiateArgs, events)
		for i := range all {
			all[i] = event(template, fmt.Sprint(name, "-", i))
		}
		for _, done := range together(t.Context(), b, all...) {
			require.NoError(t, done.err)
			require.Equal(t, jobs.StatusInstantiated, done.result.Status)
		}
		b.Close()
		return batches
	}
	isSplit := func(b compose.Batch) bool { return b.Split }
	batches := composed("first")
	for try := 0; slices.ContainsFunc(batches, isSplit) && try < 3; try++ { // a busy machine may meet the timeout all the same
		batches = composed(fmt.Sprint("again-", try))
	}
	var n int
	for _, batch := range batches {
		require.False(t, batch.Split)
		require.Less(t, batch.Events, 10)
		n += batch.Events
	}
	require.Equal(t, events, n)
}
