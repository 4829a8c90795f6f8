package iusql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const (
	durableSQL = "ops/03_durable_auto_instantiate_event.sql"
	bulkSQL    = "ops/05_bulk_scaleout_via_event_orchestrator.sql"
)

// unchanged requires a psql run to change no row.
func (c core) unchanged(t testing.TB, args ...string) (out string) {
	t.Helper()
	before := data(t, c.DB)
	out = c.psql(t, args...)
	require.Equal(t, before, data(t, c.DB))
	return out
}

// closedGates requires a file to do nothing while a gate that it needs is closed, and to say how to open it.
func (c core) closedGates(t *testing.T, file string) {
	t.Helper()
	for _, try := range []struct{ composer, autoInstantiate, open string }{
		{"false", "false", "iuworker gate open composer and iuworker gate open auto-instantiate"},
		{"true", "no", "open it with: iuworker gate open auto-instantiate"},
		{"", "true", "open it with: iuworker gate open composer"},
	} {
		c.gates(t, try.composer, try.autoInstantiate)
		before := c.written(t)
		_, err := iutest.Psql(t, c.DB, "-f", file)
		require.ErrorContains(t, err, "nothing was done")
		require.ErrorContains(t, err, try.open)
		require.Equal(t, before, c.written(t))
	}
}

func TestDurableProof(t *testing.T) {
	t.Parallel()
	eachCore(t, func(t *testing.T, c core) {
		c.closedGates(t, durableSQL)
		c.gates(t, "true", "true")
		before := c.written(t)
		out := c.psql(t, "-A", "-t", "-f", durableSQL)
		require.Regexp(t, `^instantiated\|tpl-inst:auto:iu-proof:durable:iu-proof-template\|[0-9a-f-]{36}\|`+
			`iu-proof-template\|live\|iuworker-proof\|.*\|t\n$`, out)
		// The template and its instance.
		require.Equal(t, counts{1, before.Lineage + 1, before.Membership + 6, before.Collection + 2}, c.written(t))
		require.Contains(t, c.unchanged(t, "-A", "-t", "-f", durableSQL), "idempotent_replay|tpl-inst:auto:iu-proof:durable:iu-proof-template|")

		// For another template, without the live gate.
		c.Template(t, "kit", 2)
		c.gates(t, "true", "false")
		set := []string{"-A", "-t", "-c", "SET iuworker.template = 'kit'; SET iuworker.emit_mode = 'dry_run'; SET iuworker.actor = 'me'", "-f", durableSQL}
		require.Contains(t, c.psql(t, set...), "instantiated|tpl-inst:auto:iu-proof:durable:kit|")
		c.unchanged(t, set...)
		c.fails(t, []string{"there is no collection with the key nowhere"},
			"-c", "SET iuworker.template = 'nowhere'; SET iuworker.emit_mode = 'dry_run'", "-f", durableSQL)
		c.fails(t, []string{"composed nothing", "p_emit_mode"}, "-c", "SET iuworker.emit_mode = 'wet'", "-f", durableSQL)
		c.consistent(t)

		// A rollback by its actor's name removes what it created.
		require.Equal(t, counts{1, 1, 3, 1}, c.rollBack(t, "rolled_back", "iuworker-proof", false).Counts)
	})
}

func TestBulkScaleout(t *testing.T) {
	t.Parallel()
	c := core{iutest.New(t)}
	c.closedGates(t, bulkSQL)
	c.OpenGates(t)
	state := func(state, reason string) (want []string) {
		for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
			want = append(want, n+" "+state+reason)
		}
		return want
	}
	const states = `
		SELECT n || ' ' || s.state || coalesce(' ' || s.reason, '') FROM generate_series(1, 12) AS n
		CROSS JOIN LATERAL iu_outbox.event_state(md5('iu-proof:bulk:' || n)::uuid) AS s ORDER BY n`

	// They wait in the outbox, and a second run finds them there.
	require.Contains(t, c.psql(t, "-A", "-t", "-f", bulkSQL), "iu-proof:bulk:12|waiting|in the outbox|\n")
	require.Equal(t, state("waiting", " in the outbox"), rows(t, c.DB, states))
	require.Equal(t, []string{"iu-proof:bulk:1 iu.proof.bulk live 4 iuworker-proof"}, rows(t, c.DB, `
		SELECT concat_ws(' ', instance_key_suffix, event_type, emit_mode, priority, actor) FROM iu_outbox.event ORDER BY id LIMIT 1`))
	c.unchanged(t, "-f", bulkSQL)

	// Composed events are known from the log.
	c.Exec(t, `
		SELECT public.fn_iu_auto_instantiate_from_event(event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note)
		FROM iu_outbox.event ORDER BY id`)
	c.Exec(t, "DELETE FROM iu_outbox.event")
	require.Equal(t, state("done", ""), rows(t, c.DB, states))
	require.Equal(t, 12, c.written(t).EventLog)
	require.Regexp(t, `(?m)^iu-proof:bulk:1\|done\|\|[0-9a-f-]{36}$`, c.unchanged(t, "-A", "-t", "-f", bulkSQL))

	// Another prefix adds twelve more, without those that exist.
	c.Template(t, "kit", 2)
	set := []string{"-c", "SET iuworker.prefix = 'more'; SET iuworker.template = 'kit'; SET iuworker.actor = 'me'", "-f", bulkSQL}
	c.psql(t, set...)
	c.Exec(t, "DELETE FROM iu_outbox.event WHERE instance_key_suffix = 'more:7'")
	c.psql(t, set...)
	require.Equal(t, []string{"12 12 kit"}, rows(t, c.DB, `
		SELECT count(*) || ' ' || count(DISTINCT e.instance_key_suffix) || ' ' || min(c.collection_key)
		FROM iu_outbox.event AS e JOIN iu_piece_collection AS c ON c.id = e.template_collection_id`))
	c.unchanged(t, set...)
}

func TestBulkScaleoutNeedsAnOutbox(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	c.fails(t, []string{"there is no outbox here", "iuworker migrate up"}, "-f", bulkSQL)
}
