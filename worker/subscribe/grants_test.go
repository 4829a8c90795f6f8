package subscribe_test

import (
	"context"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// as returns the same database for another login.
func (b *bundle) as(t *testing.T, role string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), b.URLAs(role))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func requireDenied(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		_, err := pool.Exec(t.Context(), sql)
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr, sql)
		require.Equal(t, pgerrcode.InsufficientPrivilege, pgErr.Code, sql)
	}
}

func TestSubscriberRole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pool := b.as(t, "iu_subscriber")
	keys := b.announce(t, 3)
	p := dislike(keys[1])
	cfg := b.config(t, "mail", deadLettering, func(c *subscribe.Config) { c.Pool = pool })
	r := start(t, func(ctx context.Context) error { return subscribe.RunBatch(ctx, cfg, p.handleAll) })
	p.waitFor(t, keys[0], keys[2])
	p.like()
	n, err := subscribe.ReplayDeadLetters(t.Context(), pool, "mail")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	p.waitFor(t, keys[0], keys[2], keys[1])
	require.NoError(t, r.stop())
	_, err = subscribe.ListConsumers(t.Context(), pool)
	require.NoError(t, err)
	_, err = subscribe.ResetConsumer(t.Context(), pool, "mail", subscribe.Since(p.all()[0].Time))
	require.NoError(t, err)
	require.NoError(t, subscribe.DeleteConsumer(t.Context(), pool, "mail", true))
	requireDenied(t, pool,
		"INSERT INTO iu_outbox.emission (instance_collection_id, event) VALUES (gen_random_uuid(), '{}')",
		"DELETE FROM iu_outbox.emission", "UPDATE iu_outbox.emission_counter SET position = 0", "SELECT * FROM iu_outbox.event",
		"SELECT iu_outbox.emit(1)", "SELECT iu_outbox.begin_epoch()", "SELECT iu_outbox.prune_emissions('1 s', NULL, 1)")
}

func TestOperatorRole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pool := b.as(t, "iu_operator")
	b.announce(t, 1)
	require.NoError(t, subscribe.Run(t.Context(), b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 1 }), new(inbox).handle))
	list, err := subscribe.ListConsumers(t.Context(), pool)
	require.NoError(t, err)
	require.Len(t, list, 1)
	_, err = subscribe.ListDeadLetters(t.Context(), pool, "mail", 1)
	require.NoError(t, err)
	_, err = subscribe.DropDeadLetters(t.Context(), pool, "mail")
	require.NoError(t, err)
	_, err = subscribe.ResetConsumer(t.Context(), pool, "mail", subscribe.Beginning())
	require.NoError(t, err)
	require.NoError(t, subscribe.DeleteConsumer(t.Context(), pool, "mail", false))
	_, err = pool.Exec(t.Context(), "SELECT iu_outbox.begin_epoch()")
	require.NoError(t, err)
}

// The worker serves events over HTTP and prunes emissions.
func TestWorkerRole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pool := b.as(t, "iu_worker")
	b.announce(t, 1)
	begin, err := subscribe.Resolve(t.Context(), pool, subscribe.Beginning())
	require.NoError(t, err)
	page, err := subscribe.Read(t.Context(), pool, begin, subscribe.Filter{}, 1)
	require.NoError(t, err)
	require.Len(t, page.Events, 1)
	_, err = subscribe.ListConsumers(t.Context(), pool)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "SELECT iu_outbox.prune_emissions('30 days', '30 days', 100)")
	require.NoError(t, err)
	requireDenied(t, pool, "DELETE FROM iu_outbox.consumer", "SELECT iu_outbox.begin_epoch()")
}

// A policy hides rows. Hidden events do not count as pruned or rewound: the subscriber returns an error that names row security.
func TestHiddenRowsAreNeitherPrunedNorGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.announce(t, 3)
	pool := b.as(t, "iu_subscriber")
	begin, err := subscribe.Resolve(t.Context(), pool, subscribe.Beginning())
	require.NoError(t, err)
	for _, table := range []string{"emission", "emission_counter"} {
		b.Exec(t, "ALTER TABLE iu_outbox."+table+" ENABLE ROW LEVEL SECURITY")
		for name, read := range map[string]func() error{
			"read":    func() error { _, err := subscribe.Read(t.Context(), pool, begin, subscribe.Filter{}, 10); return err },
			"resolve": func() error { _, err := subscribe.Resolve(t.Context(), pool, subscribe.After(begin)); return err },
			"run": func() error {
				cfg := b.config(t, "", func(c *subscribe.Config) { c.Pool, c.From = pool, subscribe.After(begin) })
				return subscribe.Run(t.Context(), cfg, new(inbox).handle)
			},
		} {
			err := read()
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr, "%s with %s hidden: %v", name, table, err)
			require.Equal(t, "check_enable_rls", pgErr.Routine)
			require.NotErrorIs(t, err, subscribe.ErrPruned)
		}
		b.Exec(t, "ALTER TABLE iu_outbox."+table+" DISABLE ROW LEVEL SECURITY")
	}

	require.NoError(t, subscribe.Run(t.Context(), b.config(t, "mail", func(c *subscribe.Config) { c.Limit = 1 }), new(inbox).handle))
	b.Exec(t, "ALTER TABLE iu_outbox.consumer ENABLE ROW LEVEL SECURITY")
	_, err = subscribe.ResetConsumer(t.Context(), pool, "mail", subscribe.Beginning())
	require.ErrorIs(t, err, subscribe.ErrRowSecurity)
	require.ErrorIs(t, subscribe.DeleteConsumer(t.Context(), pool, "nobody", true), subscribe.ErrRowSecurity)
}
