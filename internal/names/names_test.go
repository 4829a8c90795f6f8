package names_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/names"
)

func TestMain(m *testing.M) { iutest.Main(m) }

func TestTheDatabaseHasTheseNames(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for name, query := range map[string]struct {
		sql  string
		want []string
	}{
		"event type": {"SELECT iu_outbox.event_type()", []string{names.EventType}},
		"registry":   {"SELECT event_type FROM event_type_registry", []string{names.EventType}},
		"River's schema": {"SELECT nspname::text FROM pg_namespace WHERE oid = (SELECT relnamespace FROM pg_class WHERE relname = 'river_job')",
			[]string{names.RiverSchema}},
		"doorbells": {`SELECT split_part(encode(tgargs, 'escape'), '\000', 1) FROM pg_trigger
			WHERE tgfoid = 'iu_outbox.ring'::regproc ORDER BY 1`, []string{names.ChannelEmission, names.ChannelEvent}},
		"gates": {`SELECT DISTINCT (regexp_matches(prosrc, 'pg_notify\(''(\w+)'))[1] FROM pg_proc WHERE proname = 'ring_gate'`,
			[]string{names.ChannelGate}},
		"roles": {"SELECT DISTINCT role FROM iu_outbox.listed_grant WHERE role NOT LIKE 'owner%' ORDER BY role",
			[]string{names.RoleApp, names.RoleOperator, names.RoleSubscriber, names.RoleWorker}},
	} {
		rows, err := db.Pool.Query(t.Context(), query.sql)
		require.NoError(t, err, name)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err, name)
		require.Equal(t, query.want, got, name)
	}
	require.ElementsMatch(t, names.Roles, []string{names.RoleApp, names.RoleOperator, names.RoleSubscriber, names.RoleWorker})
}
