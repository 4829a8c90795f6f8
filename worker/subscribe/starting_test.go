package subscribe_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// The server is lost during the first read of some subscribers, and before another one starts. They wait, and receive everything once
// it is back.
func TestASubscriberWhoseServerIsLostBeforeItsFirstRead(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.OpenGates(t)
	b := &bundle{DB: db, template: db.Template(t, "tpl:invoice", 1)}
	b.Exec(t, "CREATE TABLE effect (position bigint, id text)")
	keys := b.announce(t, 3)
	lock, err := b.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = lock.Exec(t.Context(), "LOCK TABLE iu_outbox.emission_counter, iu_outbox.consumer")
	require.NoError(t, err)
	var alone, late, mail inbox
	log, said := logging(t)
	logged := func(c *subscribe.Config) { c.Logger = log }
	beginning := from(subscribe.Beginning())
	runs := []*running{
		start(t, serial(b.config(t, "", beginning, logged), alone.handle)),
		start(t, serial(b.config(t, "mail", logged), mail.handle)),
		start(t, func(ctx context.Context) error { return subscribe.RunTx(ctx, b.config(t, "tx", logged), effect) }),
	}
	iutest.WaitBlocked(t, db, 3)
	server.Kill()
	_ = lock.Rollback(t.Context()) // its session is gone
	runs = append(runs, start(t, serial(b.config(t, "", beginning, logged), late.handle)))
	eventually(t, func() bool {
		return said.Count("Subscriber: database lost; trying again until it is back") == len(runs)
	})
	require.NoError(t, server.Restart(t.Context()))
	for _, in := range []*inbox{&alone, &late, &mail} {
		in.waitFor(t, keys...)
	}
	b.until(t, "SELECT count(*) = 3 FROM effect")
	for _, run := range runs {
		require.NoError(t, run.stop())
	}
}

// A database that refuses every login ends a subscriber at once. If only the standby does, events are read from the primary, and the
// log says why.
func TestASubscriberThatIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := b.announce(t, 3)
	u, err := url.Parse(b.URL)
	require.NoError(t, err)
	u.Path = "/there_is_none"
	refusing, err := pgxpool.New(t.Context(), u.String())
	require.NoError(t, err)
	t.Cleanup(refusing.Close)
	for _, consumer := range []string{"", "mail"} {
		err = subscribe.Run(t.Context(), b.config(t, consumer, func(c *subscribe.Config) { c.Pool = refusing }), new(inbox).handle)
		require.ErrorContains(t, err, "there_is_none")
	}
	log, said := logging(t)
	standby := func(c *subscribe.Config) { c.Read, c.Limit, c.Logger = refusing, len(keys), log }
	for consumer, start := range map[string]subscribe.Start{"": subscribe.Beginning(), "mail": {}} {
		var in inbox
		require.NoError(t, subscribe.Run(t.Context(), b.config(t, consumer, standby, from(start)), in.handle))
		require.Equal(t, keys, in.keys())
	}
	require.Equal(t, 2, said.Count("Subscriber: the standby cannot be read; reading from the primary"))
}
