package bench

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// tiny returns the smallest configuration, with a login for this test alone.
func tiny(t *testing.T, db *iutest.DB) Config {
	t.Helper()
	login := "bench_" + strings.ToLower(t.Name())
	db.Exec(t, "CREATE ROLE "+login+" LOGIN SUPERUSER")
	t.Cleanup(func() {
		_, err := db.Pool.Exec(context.WithoutCancel(t.Context()), "DROP ROLE "+login) // this fails if the login still owns a database
		require.NoError(t, err)
	})
	server, err := pgxpool.ParseConfig(db.URLAs(login))
	require.NoError(t, err)
	return Config{
		Server: server,
		Logger: slog.New(slog.DiscardHandler),
		Growth: true,
		Sizes: Sizes{
			Repetitions: 1, Events: 64, Warmup: 8, LatencyEvents: 3, Insert: 3 * time.Second, Idle: 100 * time.Millisecond,
			Subscribers: 3, FanoutEvents: 3, History: 300,
		},
	}
}

// scratchDatabases returns the number of scratch databases of a login.
func scratchDatabases(t *testing.T, db *iutest.DB, login string) int {
	t.Helper()
	var n int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT pg_catalog.count(*) FROM pg_catalog.pg_database AS d
		WHERE pg_catalog.starts_with(d.datname::text, $1) AND pg_catalog.pg_get_userbyid(d.datdba) = $2`, namePrefix, login).Scan(&n))
	return n
}

func TestEveryGroupMeasuresAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	cfg := tiny(t, db)
	var steps []string
	cfg.Progress = func(step string) { steps = append(steps, step) }

	report, err := Run(t.Context(), cfg)
	require.NoError(t, err)

	measures := map[string]Measure{}
	for _, m := range report.Measures {
		require.Empty(t, measures[m.Name].Name, "twice")
		measures[m.Name] = m
		require.LessOrEqual(t, m.Min, m.Median, m.Name)
		require.LessOrEqual(t, m.Median, m.Max, m.Name)
	}
	for _, name := range []string{
		"drain", "pipeline", "growth", "latency, p50", "latency, p99", "inserts by 1", "inserts by 16",
		"inserts by 64", "inserts by 64, worker at work", "bulk inserts of 1,000",
	} {
		m := measures[name]
		require.Positive(t, m.Median, name)
		require.NotNil(t, m.Reference, name)
		require.Positive(t, m.Ratio.Median, name)
	}
	require.Contains(t, measures, "fan-out to 3, p99")
	require.NotEmpty(t, steps)
	require.NotEmpty(t, report.Growth)
	require.Equal(t, 300, report.Growth[len(report.Growth)-1].Finished)

	var table strings.Builder
	require.NoError(t, report.Write(&table))
	require.Contains(t, table.String(), "pipeline")
	require.Zero(t, scratchDatabases(t, db, cfg.Server.ConnConfig.User))
}

func TestAnInterruptedRunLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	cfg := tiny(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var during int
	cfg.Only = []string{"throughput"}
	cfg.Progress = func(step string) {
		if strings.HasPrefix(step, "drain") {
			during = scratchDatabases(t, db, cfg.Server.ConnConfig.User)
			cancel()
		}
	}

	_, err := Run(ctx, cfg)
	require.ErrorIs(t, err, ErrInterrupted)

	require.Equal(t, 1, during)
	require.Zero(t, scratchDatabases(t, db, cfg.Server.ConnConfig.User))
}

func TestRolesThatTheRunCreatedGoWithIt(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE ROLE iu_bench_test_role NOLOGIN")
	server, err := pgxpool.ParseConfig(db.URL)
	require.NoError(t, err)
	s := &scratch{server: server, name: namePrefix + "none", newRoles: []string{"iu_bench_test_role"}}
	require.NoError(t, s.drop(t.Context()))
	var exists bool
	require.NoError(t, db.Pool.QueryRow(t.Context(),
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'iu_bench_test_role')").Scan(&exists))
	require.False(t, exists)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Config{})
	require.ErrorContains(t, err, "Config.Server is required")
	server, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/nothing")
	require.NoError(t, err)
	_, err = Run(t.Context(), Config{Server: server, Only: []string{"speed"}})
	require.ErrorContains(t, err, `no group "speed"`)
	_, err = Run(t.Context(), Config{Server: server, Sizes: Sizes{Repetitions: 1}})
	require.ErrorContains(t, err, "sizes must be positive")
}
