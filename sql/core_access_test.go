package iusql_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// member creates a role for this test that may only log in, and connects as it.
func (c core) member(t testing.TB) (role string, conn *pgx.Conn) {
	t.Helper()
	role = "member_" + c.Name
	c.Exec(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { c.Exec(t, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	conn, err := pgx.Connect(t.Context(), c.URLAs(role))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return role, conn
}

// A role that may execute the functions needs no privilege on tables; one that may not execute them can do nothing.
func TestFunctionsAreForThoseWhoAreGrantedThem(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.OpenGates(t)
		args := call{uuid.New(), c.Template(t, "kit", 2), "a", "live", "shop"}
		role, conn := c.member(t)
		_, err := args.in(t.Context(), conn)
		require.ErrorContains(t, err, "permission denied for function fn_iu_auto_instantiate_from_event")
		_, err = rollBack(t.Context(), conn, "shop", true)
		require.ErrorContains(t, err, "permission denied for function fn_iu_auto_instantiate_rollback_by_actor")

		c.Exec(t, "GRANT EXECUTE ON FUNCTION fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) TO "+role)
		c.Exec(t, "GRANT EXECUTE ON FUNCTION fn_iu_auto_instantiate_rollback_by_actor(text, boolean) TO "+role)
		got, err := args.in(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, "instantiated", got.Status)
		got, err = rollBack(t.Context(), conn, "shop", false)
		require.NoError(t, err)
		require.Equal(t, "rolled_back", got.Status)
		for _, table := range []string{"iu_auto_instantiate_event_log", "iu_piece_collection", "dot_config", "v_iu_auto_instantiate_event_log"} {
			_, err = conn.Exec(t.Context(), "SELECT FROM "+table)
			require.ErrorContains(t, err, "permission denied", table)
		}
	})
}

// The functions do not use a caller's own objects with the same names as iu-core's, however it sets its search_path.
func TestCallersObjectsAreNotUsed(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		args := call{uuid.New(), c.Template(t, "kit", 2), "a", "live", "shop"}
		role, conn := c.member(t)
		c.Exec(t, "GRANT EXECUTE ON FUNCTION fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text) TO "+role)
		c.Exec(t, "CREATE SCHEMA AUTHORIZATION "+role)
		_, err := conn.Exec(t.Context(), fmt.Sprintf(`
			SET search_path = %s, pg_temp, public, pg_catalog;
			CREATE TEMP TABLE dot_config AS SELECT 'iu_core.composer_enabled' AS key, 'true' AS value
				UNION ALL SELECT 'iu_core.auto_instantiate_enabled', 'true';
			CREATE TEMP TABLE iu_piece_membership (collection_id uuid, piece_id uuid, position int, is_active boolean);
			CREATE FUNCTION fn_iu_composer_enabled() RETURNS boolean LANGUAGE sql AS 'SELECT true';
			CREATE FUNCTION lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''true''';
			CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
			CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = same)`, role))
		require.NoError(t, err)
		got, err := args.in(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, "live_gate_closed", got.Status)
		c.OpenGates(t)
		got, err = args.in(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, "instantiated", got.Status)
		require.Equal(t, 2, got.PieceCount)
	})
}

// A session whose first calls read small tables does not go on to scan the whole tables while they grow.
func TestCallsNeverReadWholeTables(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	template := c.Template(t, "kit", 12)
	c.must(t, "instantiated", call{uuid.New(), template, "first", "live", "shop"})
	c.Exec(t, "VACUUM ANALYZE")
	conn, err := c.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	for i := range 20 {
		for range 2 { // composed and replayed
			_, err := call{uuid.NewSHA1(uuid.Nil, []byte{byte(i)}), template, fmt.Sprint("order-", i), "live", "shop"}.in(t.Context(), conn)
			require.NoError(t, err)
		}
	}
	const scanned = "SELECT string_agg(relname, ' ') FROM pg_stat_xact_user_tables WHERE seq_scan > 0"
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = call{uuid.New(), template, "last", "live", "shop"}.in(t.Context(), tx)
	require.NoError(t, err)
	var tables *string
	require.NoError(t, tx.QueryRow(t.Context(), scanned).Scan(&tables))
	require.Nil(t, tables)
}
