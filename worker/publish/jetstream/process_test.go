package jetstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
)

// publishing is what a publisher that is a process of its own is told.
type publishing struct {
	Database, Name string
	Servers        []string
	Page, Window   int
	Replicas       int
}

// publisherProcess is this binary as a publisher.
func publisherProcess() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var told publishing
	if err := json.Unmarshal([]byte(os.Getenv(runsPublisher)), &told); err != nil {
		return 2
	}
	pool, err := pgxpool.New(ctx, told.Database)
	if err != nil {
		return 2
	}
	defer pool.Close()
	sink, err := jetstream.New(jetstream.Config{
		Servers: told.Servers, Database: told.Name, Create: true, Replicas: told.Replicas, Window: told.Window, AckTimeout: 2 * time.Second,
	})
	if err != nil {
		return 2
	}
	defer sink.Close()
	p, err := publish.New(publish.Config{
		Pool: pool, Sink: sink, Consumer: consumer, Source: "/iu-core/" + told.Name, Page: told.Page, LeaseTTL: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return 2
	}
	if err := p.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "publisher:", err)
		return 1
	}
	return 0
}

// spawn starts a publisher as a process of its own.
func (b *bundle) spawn(t testing.TB, servers []string, change ...func(*publishing)) *exec.Cmd {
	t.Helper()
	told := publishing{Database: b.URL, Name: b.Name, Servers: servers, Page: 50, Window: 20}
	for _, c := range change {
		c(&told)
	}
	text, err := json.Marshal(told)
	require.NoError(t, err)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), runsPublisher+"="+string(text))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ended before
		_ = cmd.Wait()
	})
	return cmd
}
