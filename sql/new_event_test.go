package iusql_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// insertNew is the INSERT of an ORM, without RETURNING.
const insertNew = `INSERT INTO iu_outbox.new_event (event_type, template_collection_id, instance_key_suffix, note)
	VALUES ('mine', '00000000-0000-0000-0000-000000000002', 'mine', 'my own note')`

// secret inserts an event of another application into the outbox.
func secret(t testing.TB, db *iutest.DB) {
	t.Helper()
	db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, note)
		SELECT 'theirs', gen_random_uuid(), 'theirs-' || n, 'their secret' FROM generate_series(1, 100) AS n`)
	db.Exec(t, "ANALYZE iu_outbox.event")
}

// An INSERT into the view inserts into the outbox, with the defaults, the login as the actor, and the generated key.
func TestNewEventReturnsTheWholeRow(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	secret(t, db)
	app := asApp(t, db)
	for name, sql := range map[string]string{
		"columns left out": insertNew,
		"DEFAULT for each": `INSERT INTO iu_outbox.new_event (id, event_id, event_type, template_collection_id, instance_key_suffix,
				emit_mode, actor, note, priority, available_at, trace_context, idempotency_key, created_at)
			VALUES (DEFAULT, DEFAULT, 'mine', '00000000-0000-0000-0000-000000000002', 'mine', DEFAULT, DEFAULT, 'my own note', DEFAULT,
				DEFAULT, DEFAULT, DEFAULT, DEFAULT)`,
		"ON CONFLICT DO NOTHING": insertNew + " ON CONFLICT DO NOTHING",
	} {
		var got struct {
			ID                   int64
			EventID, Template    uuid.UUID
			Type, Suffix, Mode   string
			Actor, Note, Key     string
			Priority             int16
			AvailableNow, TimeOK bool
			Trace                map[string]any
		}
		require.NoError(t, app.QueryRow(t.Context(), "WITH n AS ("+sql+` RETURNING *)
			SELECT id, event_id, template_collection_id, event_type, instance_key_suffix, emit_mode, actor, note, idempotency_key, priority,
				available_at = created_at, created_at = now(), trace_context FROM n`).
			Scan(&got.ID, &got.EventID, &got.Template, &got.Type, &got.Suffix, &got.Mode, &got.Actor, &got.Note, &got.Key, &got.Priority,
				&got.AvailableNow, &got.TimeOK, &got.Trace), name)
		require.Equal(t, "mine mine live iu_app my own note", strings.Join([]string{got.Type, got.Suffix, got.Mode, got.Actor, got.Note}, " "), name)
		require.Equal(t, int16(1), got.Priority)
		require.True(t, got.AvailableNow && got.TimeOK)
		require.Empty(t, got.Trace)
		var same bool
		require.NoError(t, db.Pool.QueryRow(t.Context(), `SELECT idempotency_key = $2
			AND idempotency_key = md5(event_id || ':' || template_collection_id || ':' || instance_key_suffix)
			FROM iu_outbox.event WHERE id = $1`, got.ID, got.Key).Scan(&same))
		require.True(t, same)
	}
}

// Applications read what drivers ask for after an INSERT without RETURNING.
func TestApplicationsReadTheirLastID(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	app := asApp(t, db)
	_, err := app.Exec(t.Context(), insertNew)
	require.NoError(t, err)
	var last, current, newest int64
	require.NoError(t, app.QueryRow(t.Context(), "SELECT lastval(), currval('iu_outbox.event_id_seq')").Scan(&last, &current))
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT max(id) FROM iu_outbox.event").Scan(&newest))
	require.Equal(t, []int64{newest, newest}, []int64{last, current})
	for _, sql := range []string{"SELECT nextval('iu_outbox.event_id_seq')", "SELECT setval('iu_outbox.event_id_seq', 1)"} {
		require.Equal(t, denied, as(t, db, "iu_app", sql), sql)
	}
}

// Errors of the view have the names of the table's constraints.
func TestNewEventRefusesNonsense(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	app := asApp(t, db)
	_, err := app.Exec(t.Context(), strings.ReplaceAll(insertNew, "'my own note'", "repeat('n', 2001)"))
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "note_must_not_exceed_2000_characters", pgErr.ConstraintName)
	_, err = app.Exec(t.Context(), strings.Replace(insertNew, "(event_type", "(id, event_type", 1)+" RETURNING *")
	require.Error(t, err)
}

// An INSERT into the view wakes a sleeping relay like one into the table.
func TestNewEventRingsTheDoorbell(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	relay, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = relay.Close(t.Context()) })
	_, err = relay.Exec(t.Context(), "LISTEN iu_outbox_event; SELECT pg_advisory_lock(26997, 1)")
	require.NoError(t, err)
	require.Empty(t, as(t, db, "iu_app", insertNew+" RETURNING *"))
	heard, err := relay.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Equal(t, "iu_outbox_event", heard.Channel)
}

// An insert calls a function only if somebody sleeps: a new session would have to load PL/pgSQL.
func TestInsertsCallNothingWhileTheRelayIsAwake(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	calls := func(doorbell string) (called string) {
		t.Helper()
		app, err := pgx.Connect(t.Context(), db.URL) // a session counts calls together with those of the transaction before
		require.NoError(t, err)
		defer func() { require.NoError(t, app.Close(t.Context())) }()
		_, err = app.Exec(t.Context(), "SET track_functions = 'all'; SET iu_outbox.doorbell = "+doorbell)
		require.NoError(t, err)
		tx, err := app.Begin(t.Context()) // the end of a transaction may send the counts to the server and forget them
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(),
			"INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', gen_random_uuid(), $1)", uuid.NewString())
		require.NoError(t, err)
		require.NoError(t, tx.QueryRow(t.Context(),
			"SELECT COALESCE(string_agg(funcname, ' '), '') FROM pg_stat_xact_user_functions").Scan(&called))
		require.NoError(t, tx.Commit(t.Context()))
		return called
	}
	require.Empty(t, calls("on"))
	relay, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer relay.Release()
	_, err = relay.Exec(t.Context(), "SELECT pg_advisory_lock(26997, 1)")
	require.NoError(t, err)
	require.Equal(t, "ring", calls("on"))
	require.Empty(t, calls("off"))
	_, err = relay.Exec(t.Context(), "SELECT pg_advisory_unlock(26997, 1)")
	require.NoError(t, err)
}

// Whatever a login of an application tries, it reads what it inserts and nothing of what others have inserted.
func TestApplicationsDoNotReadEachOthersEvents(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	secret(t, db)
	db.Exec(t, "GRANT CREATE ON SCHEMA public TO iu_app")
	app := asApp(t, db)
	// A function that reveals its arguments, and claims to cost nothing.
	for _, sql := range []string{
		"CREATE TEMP TABLE mine (id bigint, note text)", "INSERT INTO mine VALUES (1, 'their secret')",
		`CREATE FUNCTION public.leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
			$$ BEGIN RAISE EXCEPTION 'leaked %', $1; END $$`,
		`CREATE FUNCTION public.leaky_equal(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
			$$ BEGIN IF $1 LIKE 'their%' THEN RAISE EXCEPTION 'leaked %', $1; END IF; RETURN false; END $$`,
		"CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = public.leaky_equal)",
		"CREATE VIEW pg_temp.mine_too AS SELECT * FROM iu_outbox.new_event",
	} {
		_, err := app.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}

	returnNothing := []string{
		"SELECT note FROM iu_outbox.new_event", "SELECT note FROM pg_temp.mine_too",
		"SELECT note FROM iu_outbox.new_event WHERE public.leak(note)", "SELECT public.leak(n)::text FROM iu_outbox.new_event AS n",
		"SELECT note FROM iu_outbox.new_event WHERE note OPERATOR(public.===) 'x'",
		"SELECT n.note FROM iu_outbox.new_event AS n JOIN mine AS m ON public.leak(n.note)",
		"SELECT n.note FROM mine AS m LEFT JOIN iu_outbox.new_event AS n ON public.leak(n.note) WHERE n.note IS NOT NULL",
		"SELECT n.note FROM mine AS m LEFT JOIN iu_outbox.new_event AS n ON n.note OPERATOR(public.===) m.note WHERE n.note IS NOT NULL",
		"SELECT n.note FROM mine AS m, LATERAL (SELECT * FROM iu_outbox.new_event AS n WHERE public.leak(n.note) OFFSET 0) AS n",
		"SELECT m.note FROM mine AS m WHERE EXISTS (SELECT FROM iu_outbox.new_event AS n WHERE n.note = m.note)",
		"SELECT note FROM iu_outbox.new_event ORDER BY public.leak(note)",
		"SELECT n.note FROM iu_outbox.new_event AS n FULL JOIN mine AS m ON n.note = m.note WHERE n.note IS NOT NULL",
		"SELECT string_agg(note, '') FROM iu_outbox.new_event HAVING string_agg(note, '') IS NOT NULL",
		"SELECT note FROM iu_outbox.new_event TABLESAMPLE SYSTEM (100)",
	}
	for _, sql := range returnNothing {
		got, err := app.Query(t.Context(), sql)
		var leaked []string
		if err == nil {
			leaked, err = pgx.CollectRows(got, pgx.RowTo[string])
		}
		require.Empty(t, leaked, sql)
		if err != nil { // refused, not leaked
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr, sql)
			require.Contains(t, []string{"0A000", "42809"}, pgErr.Code, "%s: %s", sql, pgErr.Message)
		}
	}
	for _, returning := range []string{ // of the inserted row only
		"note", "(SELECT string_agg(n.note, '') FROM iu_outbox.new_event AS n)",
		"(SELECT count(*)::text FROM iu_outbox.new_event AS n WHERE public.leak(n.note))",
		"(SELECT string_agg(n.note, '') FROM pg_temp.mine_too AS n)",
	} {
		var got *string
		require.NoError(t, app.QueryRow(t.Context(), insertNew+" RETURNING "+returning).Scan(&got), returning)
		if got != nil {
			require.Contains(t, []string{"my own note", "0"}, *got, returning)
		}
	}
	plan, err := app.Query(t.Context(), "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM iu_outbox.new_event WHERE public.leak(note)")
	require.NoError(t, err)
	lines, err := pgx.CollectRows(plan, pgx.RowTo[string])
	require.NoError(t, err)
	require.NotContains(t, strings.Join(lines, "\n"), "secret")

	id := rows(t, db, "SELECT min(id)::text FROM iu_outbox.event")[0]
	taken := strings.Replace(strings.Replace(insertNew, "(event_type", "(id, event_type", 1), "VALUES (", "OVERRIDING SYSTEM VALUE VALUES ("+id+", ", 1)
	require.Empty(t, as(t, db, "iu_app", taken+" ON CONFLICT DO NOTHING RETURNING *"))
	for _, sql := range []string{ // denied
		"UPDATE iu_outbox.new_event SET note = 'x' RETURNING *", "DELETE FROM iu_outbox.new_event RETURNING *",
		"SELECT * FROM iu_outbox.new_event FOR UPDATE", "SELECT * FROM iu_outbox.new_event FOR KEY SHARE",
		taken + " ON CONFLICT (id) DO UPDATE SET note = new_event.note RETURNING *",
		taken + " ON CONFLICT (id) DO UPDATE SET note = 'x' RETURNING *",
		"SELECT note FROM iu_outbox.event", "SELECT * FROM iu_outbox.event", insert("iu_outbox.event") + " RETURNING *",
		"COPY iu_outbox.event TO STDOUT", "TRUNCATE iu_outbox.event", "CREATE RULE r AS ON INSERT TO iu_outbox.new_event DO ALSO SELECT 1",
		"CREATE TRIGGER t INSTEAD OF INSERT ON iu_outbox.new_event FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
		"ALTER VIEW iu_outbox.new_event RESET (security_barrier)", "ALTER VIEW iu_outbox.new_event ALTER COLUMN note SET DEFAULT 'x'",
		"CREATE OR REPLACE VIEW iu_outbox.new_event AS SELECT * FROM iu_outbox.event",
	} {
		require.Equal(t, denied, as(t, db, "iu_app", sql), sql)
	}
	for _, role := range []string{"iu_worker", "iu_subscriber"} {
		require.Equal(t, denied, as(t, db, role, "SELECT * FROM iu_outbox.new_event"), role)
		require.Equal(t, denied, as(t, db, role, insertNew), role)
	}
	require.Equal(t, []string{"100"}, rows(t, db, "SELECT count(*)::text FROM iu_outbox.event WHERE note = 'their secret'"))
}

func insert(table string) string { return strings.Replace(insertNew, "iu_outbox.new_event", table, 1) }

// COPY writes to the table, because a view would need a trigger for each row.
func TestCopyGoesIntoTheTable(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	app := asApp(t, db)
	columns := []string{"event_type", "template_collection_id", "instance_key_suffix"}
	values := func() pgx.CopyFromSource {
		return pgx.CopyFromRows([][]any{{"e", uuid.New(), "a"}, {"e", uuid.New(), "b"}})
	}
	_, err := app.CopyFrom(t.Context(), pgx.Identifier{"iu_outbox", "new_event"}, columns, values())
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "42809", pgErr.Code)
	n, err := app.CopyFrom(t.Context(), pgx.Identifier{"iu_outbox", "event"}, columns, values())
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
}

// The view has the columns and defaults of the table, in the same order, and a dump restores them.
func TestNewEventIsTheTable(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	const columns = `SELECT concat_ws(' ', column_name, data_type, CASE WHEN is_generated = 'NEVER' THEN column_default END) FROM information_schema.columns
		WHERE table_schema = 'iu_outbox' AND table_name = '%s' ORDER BY ordinal_position`
	view := rows(t, db, strings.ReplaceAll(columns, "%s", "new_event"))
	require.Equal(t, rows(t, db, strings.ReplaceAll(columns, "%s", "event")), view)
	require.Contains(t, view, "actor text SESSION_USER")
	dump, err := iutest.Program(t, "pg_dump", "--schema-only", "--dbname", db.URL, "--table", "iu_outbox.new_event")
	require.NoError(t, err)
	require.Contains(t, dump, "ALTER TABLE ONLY iu_outbox.new_event ALTER COLUMN actor SET DEFAULT SESSION_USER;")
	require.Contains(t, dump, "WITH (security_barrier=")
}
