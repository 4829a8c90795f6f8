package worker_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

func TestMain(m *testing.M) {
	if id := workerProcessID(); id != "" {
		runWorkerProcess(id) // this binary was started again as a worker process
	}
	// The proxy leaks the goroutine of a link whose peer it dropped.
	iutest.Main(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"))
}

// patience is how long tests wait for a condition, which may take long on a busy machine.
const patience = 90 * time.Second

// start runs a worker on db until the test ends, and waits until it is ready.
func start(t *testing.T, db *iutest.DB, change ...func(*worker.Config)) *worker.Worker {
	t.Helper()
	cfg := worker.Config{Pool: workerPool(t, db), Logger: logger(t), Concurrency: 20, ScaleoutConcurrency: 5}
	for _, c := range change {
		c(&cfg)
	}
	w, err := worker.New(cfg)
	require.NoError(t, err)
	err = w.Start(t.Context())
	for deadline := time.Now().Add(patience); canceled(err) && time.Now().Before(deadline); {
		err = w.Start(t.Context()) // on a busy machine it may exceed the statement_timeout of a role
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Stop(context.WithoutCancel(t.Context()))) })
	iutest.Eventually(t, func() bool { return w.Ready(t.Context()) == nil }, patience)
	return w
}

// canceled reports whether the server canceled a statement.
func canceled(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == pgerrcode.QueryCanceled
}

// workerPool opens a pool for a worker. The name of its sessions distinguishes them from the test's.
func workerPool(t *testing.T, db *iutest.DB) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.ConnConfig.RuntimeParams["application_name"] = "worker"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// poolOf returns a pool of a database with up to size connections.
func poolOf(t *testing.T, db *iutest.DB, size int32) *pgxpool.Pool {
	t.Helper()
	cfg := db.Pool.Config()
	cfg.MaxConns = size
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func polling(interval time.Duration) func(*worker.Config) {
	return func(c *worker.Config) { c.PollInterval = interval; c.SweepInterval = interval }
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	l, _ := logging(t)
	return l
}

func logging(t *testing.T) (*slog.Logger, *iutest.Log) {
	t.Helper()
	l := &iutest.Log{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the worker's log:\n%s", l)
		}
	})
	return slog.New(slog.NewTextHandler(l, nil)), l
}

// stalled matches the lines of connections that are lost while the machine does nothing for seconds.
var stalled = regexp.MustCompile(`(connection|database) lost; .*(deadline exceeded|timeout|did not arrive)`)

// logged returns the lines of a log with one of some texts, except those that stalled matches.
func logged(log *iutest.Log, texts ...string) (lines []string) {
	for line := range strings.Lines(log.String()) {
		if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) }) && !stalled.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// listen returns a connection that listens for announced events.
func listen(t *testing.T, db *iutest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	_, err = conn.Exec(t.Context(), `LISTEN "iu.template.instance_auto_composed"`)
	require.NoError(t, err)
	return conn
}

func nextEvent(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	require.NoError(t, err)
	iutest.RequireNotification(t, n.Payload)
	return n.Payload
}

// insert inserts an event as an application does, and returns its id.
func insert(t *testing.T, db *iutest.DB, template uuid.UUID, suffix string) uuid.UUID {
	t.Helper()
	id := uuid.New()
	db.Exec(t, `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		VALUES ($1, 'order.paid', $2, $3)`, id, template, suffix)
	return id
}

// eventually waits until a query returns true.
func eventually(t *testing.T, db *iutest.DB, sql string, args ...any) {
	t.Helper()
	db.WaitFor(t, patience, sql, args...)
}

func value[T any](t *testing.T, db *iutest.DB, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, db.Pool.QueryRow(t.Context(), sql, args...).Scan(&v), sql)
	return v
}
