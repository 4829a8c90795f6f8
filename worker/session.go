package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
)

// The class of the session locks and their keys; functions/doorbell.sql and functions/lock_holder.sql have them, too.
const (
	lockClass = 26997

	lockRelaySleeps   = 1
	lockEmitterSleeps = 2
	lockEmitterLeads  = 3
	lockVerifierLeads = 4
)

var (
	errNoSession = errors.New("no session")
	errReadOnly  = errors.New("the server is read-only, or a standby")
)

// session keeps one connection with advisory locks, which end with it: the holder of a lock waits on lost() as well. Safe for
// concurrent use.
type session struct {
	direct *pgx.ConnConfig
	logger *slog.Logger
	outage *retry.Outage
	renews bool   // the lease is renewed on this session
	moved  func() // called after the session has left a read-only server for one that accepts writes; may be nil

	mu      sync.Mutex
	conn    *pgx.Conn
	backend int32
	gone    chan struct{}  // closed when conn is lost
	led     map[int32]bool // locks of leaders that conn keeps

	readOnly atomic.Bool // the last server was read-only

	strangers map[int32]stranger // by key: the last session that was found to hold it
}

// stranger is a session that holds one of our locks and may not work: any login may take any advisory lock.
type stranger struct {
	pid   int32 // 0: there is none
	asked time.Time
}

// askAgain is how long the last result about a lock's holder is used.
const askAgain = 5 * time.Second

func newSession(direct *pgx.ConnConfig, logger *slog.Logger) *session {
	gone := make(chan struct{})
	close(gone)
	return &session{
		direct: listen.KeepAlive(direct), outage: &retry.Outage{Logger: logger, What: "Session: connection"},
		logger: logger, gone: gone, strangers: make(map[int32]stranger),
	}
}

// run keeps the session open until ctx ends, and closes it then. It takes over one that open has opened.
func (s *session) run(ctx context.Context) error {
	defer s.drop()
	for ctx.Err() == nil {
		if s.up() {
			s.watch(ctx)
			continue
		}
		if err := s.open(ctx); err != nil {
			retry.Pause(ctx, retry.Reconnect.Wait(s.outage.Failed(ctx, err)))
			continue
		}
		s.outage.Worked(ctx)
	}
	return nil
}

// watch waits until the session has ended or ctx ends. It pings the session every heartbeat, unless the lease is renewed on the session,
// which checks it as well.
func (s *session) watch(ctx context.Context) {
	if s.renews {
		select {
		case <-s.lost():
			retry.Pause(ctx, retry.Reconnect.First)
		case <-ctx.Done():
		}
		return
	}
	for retry.Pause(ctx, heartbeat) && s.alive(ctx) == nil {
	}
}

// alive returns why the session cannot be used. It ends a session that can no longer write: the primary is elsewhere.
func (s *session) alive(ctx context.Context) error {
	var writable bool
	if err := s.query(ctx, &writable, dbsession.Writable); err != nil {
		return err
	}
	if !writable {
		s.drop()
		s.readOnly.Store(true)
		s.outage.Failed(ctx, errReadOnly)
		return errReadOnly
	}
	return nil
}

func (s *session) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.direct)
	if err != nil {
		return err
	}
	var backend int32 // not conn's own PID: a pooler in between makes one up
	var writable bool
	err = conn.QueryRow(ctx, dbsession.Writable+", pg_catalog.pg_backend_pid()").Scan(&writable, &backend)
	switch {
	case err != nil:
		err = fmt.Errorf("ask for the session's backend: %w", err)
	case !writable:
		s.readOnly.Store(true)
		err = errReadOnly
	}
	if err != nil {
		_ = conn.Close(ctx) // the error that matters is err
		return err
	}
	s.begin(conn, backend)
	if s.readOnly.Swap(false) && s.moved != nil {
		s.moved()
	}
	return nil
}

func (s *session) begin(conn *pgx.Conn, backend int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.backend = conn, backend
	s.gone = make(chan struct{})
	s.led = make(map[int32]bool)
}

// lost returns a channel that is closed when the current session ends, and is closed already if there is none.
func (s *session) lost() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *session) up() bool { return s.pid() != 0 }

// pid returns the session's backend; 0 if there is no session.
func (s *session) pid() int32 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backend
}

// tried is how the try of an exclusive lock went.
type tried string

const (
	triedWon    tried = "won"
	triedShared tried = "shared" // producers in their transactions hold it shared
	triedTaken  tried = "taken"  // another session holds it exclusively
)

const trySQL = `
	SELECT CASE
		WHEN pg_catalog.pg_try_advisory_lock($1, $2) THEN 'won'
		WHEN NOT pg_catalog.pg_try_advisory_lock_shared($1, $2) THEN 'taken'
		WHEN pg_catalog.pg_advisory_unlock_shared($1, $2) THEN 'shared'
	END`

// try tries the exclusive lock of a key of lockClass, and never waits for it.
func (s *session) try(ctx context.Context, key int32) (tried, error) {
	var got tried
	err := s.query(ctx, &got, trySQL, lockClass, key)
	return got, err
}

func (s *session) unlock(ctx context.Context, key int32) error {
	var held bool
	return s.query(ctx, &held, "SELECT pg_catalog.pg_advisory_unlock($1, $2)", lockClass, key)
}

// query runs a statement that returns one value. An error ends the session, since its locks may be lost.
func (s *session) query(ctx context.Context, into any, sql string, args ...any) error {
	return s.queryRow(ctx, []any{into}, sql, args...)
}

// queryRow runs a statement that returns one row. An error ends the session, since its locks may be lost, unless the statement waited
// too long for a lock.
func (s *session) queryRow(ctx context.Context, into []any, sql string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return errNoSession
	}
	// A caller that gives up must not cut the connection that all locks live on.
	uncut, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := s.conn.QueryRow(uncut, sql, args...).Scan(into...)
	if err == nil {
		return nil
	}
	if !isCode(err, pgerrcode.LockNotAvailable) {
		s.dropLocked()
		s.outage.Failed(ctx, err)
	}
	if dbsession.ReadOnlyError(err) {
		s.readOnly.Store(true)
	}
	return fmt.Errorf("session: %w", err)
}

func (s *session) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked()
}

func (s *session) dropLocked() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // what could not be closed in time is cut
	s.conn, s.backend = nil, 0
	close(s.gone)
}

// leads reports whether this process leads: nothing says which one does without a session, or it has the lock of the key, which
// it keeps. If a stranger has the lock, all processes lead, which costs more and is right all the same.
func (s *session) leads(ctx context.Context, key int32) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	leads := s.conn != nil && s.led[key]
	s.mu.Unlock()
	if leads {
		return true
	}
	got, err := s.try(ctx, key)
	if err == nil && got != triedWon {
		leads, err = s.strange(ctx, key)
		return err == nil && leads
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.conn == nil {
		return false
	}
	s.led[key] = true
	return true
}

const strangerSQL = `
	SELECT COALESCE((
		SELECT pg_catalog.json_build_object('pid', h.pid, 'login', h.login, 'application', h.application_name)
		FROM iu_outbox.lock_holder AS h
		WHERE h.class = $1 AND h.key = $2 AND NOT h.may_work
		LIMIT 1), '{"pid": 0}')`

// strange reports whether a session that may not work holds a key of lockClass, and logs it once.
func (s *session) strange(ctx context.Context, key int32) (bool, error) {
	s.mu.Lock()
	last := s.strangers[key]
	s.mu.Unlock()
	if time.Since(last.asked) < askAgain {
		return last.pid != 0, nil
	}
	var holder struct {
		PID         int32
		Login       string
		Application string
	}
	if err := s.query(ctx, &holder, strangerSQL, lockClass, key); err != nil {
		return false, err
	}
	s.mu.Lock()
	s.strangers[key] = stranger{pid: holder.PID, asked: time.Now()}
	s.mu.Unlock()
	if holder.PID != 0 && holder.PID != last.pid {
		s.logger.WarnContext(ctx, "Session: a login that is no worker's holds a lock of ours; working without it, by polls; "+
			"to end that, run as an administrator: "+
			fmt.Sprintf("SELECT pg_terminate_backend(%d)", holder.PID),
			slog.String("lock", lockName(key)), slog.String("login", holder.Login), slog.String("application", holder.Application),
			slog.Int("pid", int(holder.PID)))
	}
	return holder.PID != 0, nil
}

func lockName(key int32) string { return fmt.Sprintf("(%d, %d)", lockClass, key) }
