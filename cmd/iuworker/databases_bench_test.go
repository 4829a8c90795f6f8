package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/iu-core/iuworker/internal/pgserver"
	"github.com/iu-core/iuworker/internal/retry"
	iusql "github.com/iu-core/iuworker/sql"
)

// fleetOf creates databases with our schema on a server of their own, and returns them by name, with the server's postmaster.
func fleetOf(b *testing.B, n int) (urls map[string]string, postmaster int) {
	b.Helper()
	server, err := pgserver.Start(b.Context(), pgserver.Config{TCP: true, Settings: map[string]string{
		"max_connections": fmt.Sprint(20 + 10*n), "fsync": "off", "shared_buffers": "256MB", "autovacuum_naptime": "5min", "jit": "off",
	}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, server.Stop()) })
	admin, err := pgxpool.New(b.Context(), server.URL("postgres"))
	require.NoError(b, err)
	defer admin.Close()
	_, err = admin.Exec(b.Context(), "CREATE DATABASE first")
	require.NoError(b, err)
	cfg, err := pgxpool.ParseConfig(server.URL("first"))
	require.NoError(b, err)
	_, err = iusql.Up(b.Context(), iusql.Config{ConnConfig: cfg.ConnConfig, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	furnish(b, server.URL("first"))
	urls = map[string]string{}
	for i := range n {
		name := fmt.Sprintf("db-%03d", i)
		_, err = admin.Exec(b.Context(), fmt.Sprintf(`CREATE DATABASE %q TEMPLATE first STRATEGY file_copy`, name))
		require.NoError(b, err)
		urls[name] = server.URL(name)
	}
	var pid int
	require.NoError(b, admin.QueryRow(b.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	stat, err := procfs.NewProc(pid)
	require.NoError(b, err)
	of, err := stat.Stat()
	require.NoError(b, err)
	return urls, of.PPID
}

// cpu returns the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// serverCPU returns the CPU time of a server and of its sessions.
func serverCPU(b *testing.B, postmaster int) (ticks uint) {
	b.Helper()
	processes, err := procfs.AllProcs()
	require.NoError(b, err)
	for _, process := range processes {
		if stat, err := process.Stat(); err == nil && (stat.PPID == postmaster || stat.PID == postmaster) {
			ticks += stat.UTime + stat.STime
		}
	}
	return ticks
}

// resident returns the memory of this process, in MB.
func resident(b *testing.B) float64 {
	b.Helper()
	self, err := procfs.Self()
	require.NoError(b, err)
	stat, err := self.Stat()
	require.NoError(b, err)
	return float64(stat.ResidentMemory()) / (1 << 20)
}

// BenchmarkManyDatabases measures a process that works on many databases. It takes minutes, and is not part of make bench:
//
//	go test -run '^$' -bench ManyDatabases -benchtime 1x ./cmd/iuworker
func BenchmarkManyDatabases(b *testing.B) {
	b.Run("idle=100", func(b *testing.B) { benchmarkIdleDatabases(b, 100) })
	b.Run("away=1of50", func(b *testing.B) { benchmarkOneAway(b, 50) })
}

// benchmarkIdleDatabases reports CPU and memory of a process with n idle databases: at most 20 % of a core and 300 MB for 100.
func benchmarkIdleDatabases(b *testing.B, n int) {
	urls, postmaster := fleetOf(b, n)
	workingOn(b, databasesFile(b, urls), n)
	retry.Pause(b.Context(), 2*manyIdle+30*time.Second) // what follows a start: leaders are elected, connections end
	for b.Loop() {
		before, server, began := cpu(b), serverCPU(b, postmaster), time.Now()
		retry.Pause(b.Context(), 30*time.Second)
		took := time.Since(began)
		b.ReportMetric(100*(cpu(b)-before).Seconds()/took.Seconds(), "%core")
		b.ReportMetric(float64(serverCPU(b, postmaster)-server)/took.Seconds(), "%core-server")
		b.ReportMetric(resident(b), "MB")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	}
}

// benchmarkOneAway shows that n-1 databases compose while one is away, and reports how long 20 events in each of them take, with
// all databases there and with one away.
func benchmarkOneAway(b *testing.B, n int) {
	urls, _ := fleetOf(b, n)
	for b.Loop() {
		there, away := composeWithOneAway(b, urls, 20)
		b.ReportMetric(there.Seconds(), "s-all-there")
		b.ReportMetric(away.Seconds(), "s-one-away")
	}
}
