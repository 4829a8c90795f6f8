package bench

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
	scratchdb "github.com/iu-core/iuworker/internal/scratch"
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
			Repetitions: 1, Events: 64, Warmup: 8, LatencyEvents: 3, Insert: time.Second, Idle: 100 * time.Millisecond,
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
		"drain", "drain against batches", "pipeline", "pipeline against batches", "pipeline by function", "pipeline, WAL",
		"call, live", "growth", "drain, long history", "latency, p50", "latency, p99", "inserts by 1", "inserts by 16", "inserts by 64",
		"inserts by 64, worker at work", "bulk inserts", "bulk inserts, --rate 200",
	} {
		m := measures[name]
		require.NotNil(t, m.Reference, name)
		if name == "latency, p50" && (m.Median == 0 || m.Reference.Median == 0) {
			continue // of so few events, most may be heard before their INSERT returns to a busy client
		}
		require.Positive(t, m.Median, name)
		require.Positive(t, m.Ratio.Median, name)
	}
	require.Contains(t, measures, "fan-out to 3, p99")
	require.NotEmpty(t, steps)
	for _, group := range groups {
		for name, bar := range group.bars {
			if m, found := measures[name]; found || runtime.GOOS == "linux" {
				require.Same(t, bar, m.Bar, name)
			}
		}
	}
	require.Greater(t, len(report.Growth), 10)
	require.Equal(t, 300, report.Growth[len(report.Growth)-1].Finished)
	costs := map[string]Cost{}
	for _, c := range report.Costs {
		costs[c.Name] = c
		require.Positive(t, c.Rate.Median, c.Name)
		require.Greater(t, c.WAL.Median, 1000.0, c.Name)
		if runtime.GOOS == "linux" {
			require.NotNil(t, c.Server, c.Name)
			require.NotNil(t, c.Client, c.Name)
		}
	}
	for _, name := range []string{
		"drain", "pipeline", "pipeline by function", "pgbench, 32 clients", "500 calls in one statement", "growth, all events",
	} {
		require.Contains(t, costs, name)
	}

	var table strings.Builder
	require.NoError(t, report.Write(&table))
	require.Contains(t, table.String(), "pipeline")
	for line := range strings.Lines(table.String()) {
		require.LessOrEqual(t, len(line)-1, width, line)
	}
	require.Zero(t, scratchDatabases(t, db, cfg.Server.ConnConfig.User))
}

func TestAnInterruptedRunLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	cfg := tiny(t, db)
	interrupted := func(group, at string, databases int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		during := -1
		cfg.Only = []string{group}
		cfg.Progress = func(step string) {
			if strings.HasPrefix(step, at) {
				during = scratchDatabases(t, db, cfg.Server.ConnConfig.User)
				cancel()
			}
		}
		_, err := Run(ctx, cfg)
		require.ErrorIs(t, err, ErrInterrupted, at)
		require.Equal(t, databases, during, at)
		require.Zero(t, scratchDatabases(t, db, cfg.Server.ConnConfig.User), at)
	}
	interrupted("throughput", "create", 0)
	interrupted("throughput", "drain", 1)
	interrupted("growth", "history", 2)
}

// A migration that is interrupted at any time leaves neither its database nor its roles.
func TestAScratchDatabaseThatIsNotFinishedIsDropped(t *testing.T) {
	t.Parallel()
	own, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{"fsync": "off"}}) // without our roles
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, own.Stop()) })
	server, err := pgxpool.ParseConfig(own.URL("postgres"))
	require.NoError(t, err)
	conn, err := pgx.ConnectConfig(t.Context(), server.ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	count := func() (left int) {
		require.NoError(t, conn.QueryRow(t.Context(), `
			SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_database AS d WHERE pg_catalog.starts_with(d.datname::text, $1))
			     + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles)`, namePrefix).Scan(&left))
		return left
	}
	before := count()
	for _, at := range []string{"CREATE DATABASE", "CREATE ROLE", "GRANT", "scratch-template"} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := server.Copy()
		cfg.ConnConfig.Tracer = cancelAt{at, cancel}
		_, err := createScratch(ctx, cfg, slog.New(slog.DiscardHandler))
		require.Error(t, err, at)
		require.Error(t, ctx.Err(), at)
		require.Equal(t, before, count(), at)
	}
}

// cancelAt cancels a context when a statement begins that contains a text.
type cancelAt struct {
	text   string
	cancel context.CancelFunc
}

// TraceQueryStart implements pgx.QueryTracer.
func (c cancelAt) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, c.text) {
		c.cancel()
	}
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (cancelAt) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Connections that are reserved, which PostgreSQL can do from 16 on, are no room for subscribers.
func TestReservedConnectionsAreNoRoom(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.Since(t, 16)
	db.Exec(t, "ALTER SYSTEM SET reserved_connections = 200")
	require.NoError(t, server.Restart(t.Context()))
	db.Pool.Reset() // its connections ended
	n, err := (&scratch{&scratchdb.Database{Pool: db.Pool}}).room(t.Context(), 1000, 5)
	require.NoError(t, err)
	require.Less(t, n, 300-3-200-20-5)
	require.Greater(t, n, 2)
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
