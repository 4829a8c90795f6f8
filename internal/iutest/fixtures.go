package iutest

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// OpenGates opens both gates, composer and auto-instantiate.
func (db *DB) OpenGates(t testing.TB) {
	t.Helper()
	tag, err := db.Pool.Exec(t.Context(), `
		UPDATE public.dot_config SET value = 'true'
		WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled')`)
	require.NoError(t, err, "open the gates")
	require.EqualValues(t, 2, tag.RowsAffected(), "gates that are there")
}

// Template makes a collection of that many pieces, marked as a template, whatever the gates, and returns its id. The
// pieces' keys are the template's and a number: "key/1" and so on.
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

// HoldComposing makes each call that composes wait in the server, whatever its lock_timeout, until release is called, or the
// test ends: jobs are running for as long as the test likes. Once a database.
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
		require.NoError(t, err, "let composing go on")
	})
	t.Cleanup(release)
	return release
}
