package iusql_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// hold locks a table against everybody else until release is called.
func hold(t testing.TB, db *iutest.DB, table string) (release func()) {
	t.Helper()
	config, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	config.RuntimeParams["application_name"] = "a long report"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "BEGIN; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	release = sync.OnceFunc(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	t.Cleanup(release)
	return release
}

// logs holds the log of a run, and can be read while the run goes on.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen chan struct{} // receives one value for each line
}

func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.seen <- struct{}{}:
	default:
	}
	return l.text.Write(line)
}

func (l *logs) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.text.Bytes(), []byte(text))
}

// wait waits until the log contains a text.
func (l *logs) wait(t testing.TB, text string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for !l.has(text) {
		select {
		case <-l.seen:
		case <-timeout:
			require.Fail(t, "waited in vain", "for %q in: %s", text, l.text.String())
		}
	}
}

func logged(cfg *iusql.Config) *logs {
	l := &logs{seen: make(chan struct{}, 1)}
	cfg.Logger = slog.New(slog.NewTextHandler(l, nil))
	return l
}

func TestUpTriesAgainUntilItGetsItsLocks(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	release := hold(t, db, "public.dot_config")
	cfg := config(t, db.URL)
	cfg.LockTimeout = 300 * time.Millisecond
	log := logged(&cfg)
	done := make(chan error, 1)
	go func() { _, err := iusql.Up(t.Context(), cfg); done <- err }()

	log.wait(t, "another session holds a lock, trying again")
	log.wait(t, "a long report") // who holds it; an attempt may end before a busy machine has found that out
	iutest.WaitBlocked(t, db, 1) // the next attempt
	release()
	require.NoError(t, <-done)
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
}

func TestUpSaysWhoHeldTheLock(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	release := hold(t, db, "public.iu_piece_collection")
	cfg := config(t, db.URL)
	cfg.LockTimeout, cfg.Wait = 8*time.Second, 8*time.Second // one try; enough for the search for its holder, on a slow day as well

	_, err := iusql.Up(t.Context(), cfg)
	require.ErrorIs(t, err, iusql.ErrBusy)
	require.ErrorContains(t, err, "migrate auto-instantiate from event: it did not get its locks within 8s, held by session ")
	require.ErrorContains(t, err, "a long report, idle in transaction since")

	// Versions that were applied stay, and the next run continues from there.
	release()
	require.Equal(t, []string{"0", "32"}, rows(t, db, versions))
	up(t, db)
	require.NoError(t, iusql.CheckSchema(t.Context(), db.Pool))
}

func TestUpWaitsForAnotherMigration(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	other, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer other.Release()
	_, err = other.Exec(t.Context(), "SET application_name = 'psql of a colleague'; SELECT pg_advisory_lock(x'69755f6d696772'::bigint)")
	require.NoError(t, err)

	cfg := config(t, db.URL)
	cfg.Wait = 100 * time.Millisecond
	_, err = iusql.Up(t.Context(), cfg)
	require.ErrorIs(t, err, iusql.ErrBusy)
	require.ErrorContains(t, err, "another migration of this database did not end within 100ms: session ")
	require.ErrorContains(t, err, "psql of a colleague")

	cfg.Wait = 0
	log := logged(&cfg)
	done := make(chan error, 1)
	go func() { _, err := iusql.Up(t.Context(), cfg); done <- err }()
	log.wait(t, "waiting for another migration")
	_, err = other.Exec(t.Context(), "SELECT pg_advisory_unlock_all()")
	require.NoError(t, err)
	require.NoError(t, <-done)
}

func TestUpEndsWithItsContext(t *testing.T) {
	t.Parallel()
	db := adoptable(t)
	hold(t, db, "public.dot_config")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cfg := config(t, db.URL)
	go func() { _, err := iusql.Up(ctx, cfg); done <- err }()
	iutest.WaitBlocked(t, db, 1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
