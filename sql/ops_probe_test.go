package iusql_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

const selftestSQL = "ops/02_auto_instantiate_productization_proof.sql"

var probes = []string{
	"invalid_input", "live_gate_closed", "composer_disabled", "template_not_found", "template_not_marked", "template_empty",
	"instantiated", "idempotent_replay", "instance_key_conflict", "digest_match", "rollback_by_actor", "event_type_without_route",
}

// selftest runs the twelve probes and returns the notes of those that failed.
func selftest(t testing.TB, db *iutest.DB) map[string]string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	failed := map[string]string{}
	got := results(t, conn, iusql.Selftest())
	require.Len(t, got, len(probes))
	for i, row := range got {
		column := strings.SplitN(row, "|", 3)
		require.Equal(t, probes[i], column[0])
		switch column[1] {
		case "PASS":
			require.Empty(t, column[2])
		default:
			require.Equal(t, "FAIL", column[1])
			require.NotEmpty(t, column[2])
			failed[column[0]] = column[2]
		}
	}
	return failed
}

// Whatever the state of the gates is, all twelve pass, leave nothing, and notify nobody.
func TestProbesPassAndLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) core{
		"created":  func(t *testing.T) core { return newCore(t, baselineSQL, instantiateSQL) },
		"adopted":  func(t *testing.T) core { return newCore(t, adoptedSQL, instantiateSQL) },
		"migrated": func(t *testing.T) core { return core{iutest.New(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := make(t)
			listener, err := pgx.Connect(t.Context(), c.URL)
			require.NoError(t, err)
			defer func() { _ = listener.Close(context.WithoutCancel(t.Context())) }()
			_, err = listener.Exec(t.Context(), `LISTEN iu_outbox_gate; LISTEN iu_outbox_emission; LISTEN "iu.template.instance_auto_composed"`)
			require.NoError(t, err)
			before, rowsBefore := dump(t, c.DB), data(t, c.DB)
			for _, gates := range [][2]string{{" True ", "true"}, {"true", "false"}, {"false", "true"}, {"false", "false"}} {
				c.gates(t, gates[0], gates[1])
				require.Empty(t, selftest(t, c.DB), "%v", gates)
			}
			require.ElementsMatch(t, strings.Split(rowsBefore, "\n"), strings.Split(data(t, c.DB), "\n"))
			require.Equal(t, before, dump(t, c.DB))
			c.Exec(t, "NOTIFY iu_outbox_emission, 'after all'")
			for {
				heard, err := listener.WaitForNotification(t.Context())
				require.NoError(t, err)
				if heard.Channel == "iu_outbox_gate" && name == "migrated" {
					continue // c.gates caused it
				}
				require.Equal(t, "after all", heard.Payload)
				break
			}
		})
	}
}

func TestProbesUnderPsql(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	require.Equal(t, strings.Join(probes, "|PASS|\n")+"|PASS|\n", c.psql(t, "-A", "-t", "-f", selftestSQL))
}

func (c core) apply(t testing.TB, change change) {
	t.Helper()
	if change.statement != "" {
		c.Exec(t, change.statement)
		return
	}
	var text string
	require.NoError(t, c.Pool.QueryRow(t.Context(),
		"SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1", change.function).Scan(&text))
	require.Contains(t, text, change.old)
	c.Exec(t, strings.ReplaceAll(text, change.old, change.new))
}

// Each probe fails if what it checks is broken, and the others that do not depend on it pass.
func TestProbesFailOnWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, try := range breakages {
		t.Run(try.name, func(t *testing.T) {
			t.Parallel()
			c := core{iutest.New(t)}
			c.apply(t, try.change)
			failed := selftest(t, c.DB)
			require.Contains(t, failed[try.probe], try.because, "%v", failed)
			for probe, note := range failed {
				require.Contains(t, append([]string{try.probe}, try.together...), probe, note)
			}
			for _, probe := range try.together {
				require.Contains(t, failed, probe)
			}
			require.Equal(t, []string{"0 0"}, rows(t, c.DB, "SELECT (SELECT count(*) FROM iu_piece) || ' ' || (SELECT count(*) FROM iu_piece_collection)"))
		})
	}
}

// A row that another session locks does not stop the run: the probe that needs it fails in time, and says why.
func TestProbesDoNotWaitForLong(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.gates(t, "true", "true") // only the probes that close a gate need its row
	tx := c.begin(t)
	_, err := tx.Exec(t.Context(), "SELECT FROM dot_config WHERE key = 'iu_core.composer_enabled' FOR UPDATE")
	require.NoError(t, err)
	failed := selftest(t, c.DB)
	require.Len(t, failed, 2)
	for _, probe := range []string{"live_gate_closed", "composer_disabled"} {
		require.Contains(t, failed[probe], "lock timeout")
	}
}
