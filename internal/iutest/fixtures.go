package iutest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/retry"
)

// OpenGates opens both gates, composer and auto-instantiate.
func (db *DB) OpenGates(t testing.TB) {
	t.Helper()
	tag, err := db.Pool.Exec(t.Context(), `
		UPDATE public.dot_config SET value = 'true'
		WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled')`)
	require.NoError(t, err, "open the gates")
	require.EqualValues(t, 2, tag.RowsAffected(), "existing gates")
}

// Template creates a template with that many pieces, even if the gates are closed, and returns its id. The pieces have the keys
// "key/1", "key/2" and so on.
func (db *DB) Template(t testing.TB, key string, pieces int) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		WITH template AS (
		    INSERT INTO public.iu_piece_collection (collection_key, title, created_by)
		    VALUES ($1, 'Template ' || $1, 'iutest')
		    RETURNING id
		), piece AS (
		    INSERT INTO public.iu_piece (piece_key, body, created_by)
		    SELECT $1 || '/' || n, jsonb_build_object('text', 'Piece ' || n || ' of ' || $1), 'iutest'
		    FROM generate_series(1, $2::int) AS n
		    RETURNING id, substring(piece_key FROM '[0-9]+$')::int AS position
		), membership AS (
		    INSERT INTO public.iu_piece_membership (collection_id, piece_id, position)
		    SELECT template.id, piece.id, piece.position FROM template, piece
		)
		SELECT id FROM template`, key, pieces).Scan(&id), "make template %s", key)
	var status string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT public.fn_iu_collection_mark_template($1, 'iutest') ->> 'status'", id).Scan(&status))
	require.Equal(t, "marked", status, "mark template %s", key)
	return id
}

// Worker makes a live worker up, which no process stands behind.
func (db *DB) Worker(t testing.TB, id string) {
	t.Helper()
	db.Exec(t, "INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version) VALUES ($1, 1, 'h', 1, '1')", id)
	db.KeepAlive(t, id)
}

// KeepAlive renews the leases of workers, rows that no process stands behind, until the test ends.
func (db *DB) KeepAlive(t testing.TB, ids ...string) {
	t.Helper()
	const renew = "UPDATE iu_outbox.worker SET seen_at = clock_timestamp() WHERE id = ANY ($1)"
	ctx, cancel := context.WithCancel(t.Context())
	try := func() { _, _ = db.Pool.Exec(ctx, renew, ids) } // the test may have broken the table or the server
	try()
	var renewing sync.WaitGroup
	t.Cleanup(func() { cancel(); renewing.Wait() })
	renewing.Go(func() {
		for retry.Pause(ctx, time.Second) {
			try()
		}
	})
}

// HoldComposing makes each call that composes wait in the server, despite lock_timeout, until the test calls release or ends.
// Call it once per database.
func (db *DB) HoldComposing(t testing.TB) (release func()) {
	t.Helper()
	db.Exec(t, `
		CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN NEW;
		END $$;
		CREATE TRIGGER hold BEFORE INSERT ON public.iu_auto_instantiate_event_log FOR EACH ROW EXECUTE FUNCTION public.hold()`)
	conn, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err, "hold composing")
	_, err = conn.Exec(t.Context(), "SELECT pg_advisory_lock(1)")
	require.NoError(t, err, "hold composing")
	release = sync.OnceFunc(func() {
		defer conn.Release()
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT pg_advisory_unlock(1)")
		require.NoError(t, err, "release composing")
	})
	t.Cleanup(release)
	return release
}

// HostileSettings are settings of a role or a database that make statements of its sessions fail, wait or behave differently.
// Those that end a session leave a busy machine enough time to begin one.
var HostileSettings = map[string]string{
	"array_nulls":                         "off",
	"backslash_quote":                     "on",
	"bytea_output":                        "escape",
	"client_encoding":                     "SQL_ASCII",
	"client_min_messages":                 "error",
	"DateStyle":                           "German",
	"default_transaction_deferrable":      "on",
	"default_transaction_isolation":       "serializable",
	"default_transaction_read_only":       "on",
	"enable_indexscan":                    "off",
	"enable_nestloop":                     "off",
	"exit_on_error":                       "on",
	"extra_float_digits":                  "-15",
	"gin_fuzzy_search_limit":              "1",
	"idle_in_transaction_session_timeout": "0",
	"idle_session_timeout":                "10s",
	"IntervalStyle":                       "iso_8601",
	"jit":                                 "on",
	"lock_timeout":                        "1ms",
	"plan_cache_mode":                     "force_generic_plan",
	"plpgsql.extra_errors":                "all",
	"plpgsql.extra_warnings":              "all",
	"plpgsql.variable_conflict":           "use_variable",
	"quote_all_identifiers":               "on",
	"row_security":                        "on",
	"search_path":                         "nowhere",
	"session_replication_role":            "replica",
	"standard_conforming_strings":         "off",
	"statement_timeout":                   "10s", // with exit_on_error it ends the session, too
	"synchronous_commit":                  "off",
	"TimeZone":                            "Asia/Kathmandu",
	"transaction_timeout":                 "10s", // from PostgreSQL 17 on
	"transform_null_equals":               "on",
	"xmloption":                           "document",
}

// MakeHostile gives new sessions of a database all of HostileSettings that the server knows, except those named.
func (db *DB) MakeHostile(t testing.TB, but ...string) {
	t.Helper()
	if db.Version(t) < 17 {
		but = append(but, "transaction_timeout")
	}
	var sql strings.Builder // run at once: a new session would already be hostile
	for name, value := range HostileSettings {
		if !slices.Contains(but, name) {
			fmt.Fprintf(&sql, "ALTER DATABASE %s SET %s = '%s';\n", quote(db.Name), name, value)
		}
	}
	db.Exec(t, sql.String())
}
