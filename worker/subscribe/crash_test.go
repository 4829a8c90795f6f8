package subscribe_test

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

const envSubscriberURL = "SUBSCRIBE_TEST_URL"

// subscriberProcess is the body of this binary as a separate process. It runs two consumers, one of them transactional, which
// record the events that they get.
func subscriberProcess() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, os.Getenv(envSubscriberURL))
	if err != nil {
		return 1
	}
	defer pool.Close()
	ended := make(chan error, 2)
	cfg := subscribe.Config{Pool: pool, LeaseTTL: 2 * time.Second, MaxBatch: 3} // a busy machine renews it in time
	go func() {
		cfg := cfg
		cfg.Consumer = "plain"
		ended <- subscribe.Run(ctx, cfg, func(ctx context.Context, e subscribe.Event) error {
			_, err := pool.Exec(ctx, "INSERT INTO seen (position) VALUES ($1)", e.Cursor.Position)
			return err
		})
	}()
	go func() {
		cfg := cfg
		cfg.Consumer = "tx"
		ended <- subscribe.RunTx(ctx, cfg, func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
			for _, e := range events {
				if _, err := tx.Exec(ctx, "INSERT INTO effect (position) VALUES ($1)", e.Cursor.Position); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	for range 2 {
		if <-ended != nil {
			return 1
		}
	}
	return 0
}

func (b *bundle) spawn(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), envSubscriberURL+"="+b.URL)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has already ended if the test passed
		_ = cmd.Wait()
	})
	return cmd
}

// Processes are killed one after the other while they work. Another one is always ready to take over.
func TestKilledSubscribersAreTakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.effects(t)
	b.Exec(t, "CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, position bigint NOT NULL)")
	const rounds, each = 3, 15
	active, standby := b.spawn(t), b.spawn(t)
	for round := range rounds {
		b.announce(t, each)
		b.until(t, "SELECT count(DISTINCT position) > $1 FROM seen", round*each)
		b.until(t, "SELECT count(*) > $1 FROM effect", round*each)
		require.NoError(t, active.Process.Kill())
		active, standby = standby, b.spawn(t)
	}
	for _, consumer := range []string{"plain", "tx"} {
		b.until(t, "SELECT position = $2 FROM iu_outbox.consumer WHERE name = $1", consumer, rounds*each)
	}
	want := make([]int64, rounds*each)
	for i := range want {
		want[i] = int64(i + 1)
	}
	require.Equal(t, want, value[[]int64](t, b, "SELECT array_agg(position ORDER BY n) FROM effect"), "once each, in order")
	require.Equal(t, want, value[[]int64](t, b, `
		SELECT array_agg(position ORDER BY first) FROM (SELECT position, min(n) AS first FROM seen GROUP BY position) AS s`))

	// The lease of the process that was killed last has expired.
	b.until(t, "SELECT count(*) = 2 FROM iu_outbox.consumer_status WHERE split_part(process, '-', -2) = ANY ($1)",
		[]string{strconv.Itoa(active.Process.Pid), strconv.Itoa(standby.Process.Pid)})
	for _, process := range []*exec.Cmd{active, standby} {
		require.NoError(t, process.Process.Signal(syscall.SIGTERM))
		// A process that has just begun dies of the signal.
		if err := process.Wait(); process.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			require.NoError(t, err)
		}
	}
	require.Equal(t, 0, value[int](t, b, "SELECT count(*)::int FROM iu_outbox.consumer_status WHERE process IS NOT NULL"), "who stops gives its lease back")
}
