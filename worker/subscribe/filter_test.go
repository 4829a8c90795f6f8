package subscribe_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// fill inserts n announced emissions without composing instances, to make a long history quickly.
func (b *bundle) fill(t *testing.T, n int) {
	t.Helper()
	b.Exec(t, `
		WITH c AS (SELECT epoch, position FROM iu_outbox.emission_counter), n AS (
			INSERT INTO iu_outbox.emission (position, instance_collection_id, emitted_at, event)
			SELECT c.position + g, gen_random_uuid(), clock_timestamp(), jsonb_build_object(
				'specversion', '1.0', 'id', 'filler', 'subject', 'filler', 'time', now(), 'source', '/x', 'position', c.position + g,
				'cursor', c.epoch || '-' || c.position + g,
				'data', jsonb_build_object('actor', 'filler', 'template_key', 'tpl:filler', 'event_type', 'filler'))
			FROM c, generate_series(1, $1::int) AS g)
		UPDATE iu_outbox.emission_counter AS x SET position = x.position + $1`, n)
	b.Exec(t, "ANALYZE iu_outbox.emission")
}

func TestFilters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := b.Template(t, "tpl:other", 1)
	invoice := b.announce(t, 2)
	b.fill(t, 2500) // more than one read scans
	others := b.announce(t, 1, composing{Template: other, Actor: "shop", EventType: "order.sent"})
	b.fill(t, 1500)
	shop := b.announce(t, 1, composing{Actor: "shop"})

	for name, test := range map[string]struct {
		filter subscribe.Filter
		want   []string
	}{
		"template by key":      {subscribe.Filter{Templates: []string{"tpl:other"}}, others},
		"template by id":       {subscribe.Filter{Templates: []string{strings.ToUpper(other.String())}}, others},
		"templates":            {subscribe.Filter{Templates: []string{"tpl:other", b.template.String()}}, append(append(invoice, others...), shop...)},
		"actor":                {subscribe.Filter{Actors: []string{"shop"}}, append(others, shop...)},
		"event type":           {subscribe.Filter{EventTypes: []string{"order.sent"}}, others},
		"all of them":          {subscribe.Filter{Templates: []string{"tpl:invoice"}, Actors: []string{"shop"}, EventTypes: []string{"order.paid"}}, shop},
		"empty lists are none": {subscribe.Filter{Templates: []string{"tpl:other"}, Actors: []string{}, EventTypes: []string{}}, others},
	} {
		var in inbox
		cfg := b.config(t, "", func(c *subscribe.Config) {
			c.From, c.Filter, c.Limit, c.MaxBatch = subscribe.Beginning(), test.filter, len(test.want), 3
		})
		require.NoError(t, subscribe.Run(t.Context(), cfg, in.handle), name)
		require.Equal(t, test.want, in.keys(), name)
	}
}

// A consumer whose filter leaves out all events still advances: it neither lags nor delays retention.
func TestConsumerMovesOverWhatItsFilterLeavesOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 2300)
	var in inbox
	start(t, serial(b.config(t, "mail", func(c *subscribe.Config) { c.Filter.Actors = []string{"billing"} }), in.handle))
	b.until(t, "SELECT position = 2300 AND epoch = (SELECT epoch FROM iu_outbox.emission_counter) FROM iu_outbox.consumer")
	keys := b.announce(t, 1)
	in.waitFor(t, keys...)
	b.until(t, "SELECT position = 2301 FROM iu_outbox.consumer")
}

func TestReadPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 10)
	page, err := subscribe.Read(t.Context(), b.Pool, subscribe.Cursor{}, subscribe.Filter{}, 4)
	require.NoError(t, err)
	require.Len(t, page.Events, 4)
	require.Equal(t, at(b.epoch(t), 4), page.Next)
	require.Equal(t, at(b.epoch(t), 10), page.End)
	page, err = subscribe.Read(t.Context(), b.Pool, page.End, subscribe.Filter{}, 4)
	require.NoError(t, err)
	require.Empty(t, page.Events)
	require.Equal(t, page.End, page.Next)
}

// A read uses the index on positions, even in a long history and with a generic plan.
func TestReadsGoByTheIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.fill(t, 20000)
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		conn, err := b.Pool.Acquire(t.Context())
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "DEALLOCATE ALL; SET plan_cache_mode = "+mode)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "PREPARE page (int, int, text[], text[], text[], text, bigint, text) AS "+subscribe.PageSQL)
		require.NoError(t, err)
		rows, err := conn.Query(t.Context(), "EXPLAIN EXECUTE page (100, 100, NULL, NULL, NULL, NULL, 19000, NULL)", pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		conn.Release()
		require.Contains(t, strings.Join(plan, "\n"), "Index Scan using emission_position_key", mode)
		require.NotContains(t, strings.Join(plan, "\n"), "Seq Scan on emission", mode)
	}
}
