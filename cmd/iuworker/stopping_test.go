package main

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// silenced is a proxy to a database. Once it is silent, it forwards nothing and closes nothing.
type silenced struct {
	url      string
	listener net.Listener
	silent   chan struct{}

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newSilenced(t *testing.T, db *iutest.DB) *silenced {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	network, address := "tcp", net.JoinHostPort(cfg.Host, u.Port())
	if strings.HasPrefix(cfg.Host, "/") {
		network, address = pgxNetwork(cfg)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	query := u.Query()
	query.Del("host")
	u.RawQuery = query.Encode()
	s := &silenced{url: u.String(), listener: listener, silent: make(chan struct{})}
	s.wg.Go(func() { s.serve(network, address) })
	t.Cleanup(s.close)
	return s
}

func pgxNetwork(cfg *pgx.ConnConfig) (network, address string) {
	return "unix", cfg.Host + "/.s.PGSQL." + strconv.Itoa(int(cfg.Port))
}

func (s *silenced) serve(network, address string) {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), network, address)
		if err != nil {
			_ = client.Close() // as the server would do
			continue
		}
		s.mu.Lock()
		s.conns = append(s.conns, client, server)
		s.mu.Unlock()
		s.wg.Go(func() { s.pass(client, server) })
		s.wg.Go(func() { s.pass(server, client) })
	}
}

func (s *silenced) pass(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-s.silent:
			if err != nil {
				return
			}
			continue
		default:
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			_, _ = from.Close(), to.Close() // this also ends the other direction
			return
		}
	}
}

func (s *silenced) silence() { close(s.silent) }

func (s *silenced) close() {
	_ = s.listener.Close() // the test is over
	s.mu.Lock()
	for _, conn := range s.conns {
		_ = conn.Close() // also for the connections
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// through returns the address of the database through s.
func (s *silenced) through(db *iutest.DB) *iutest.DB {
	return &iutest.DB{Name: db.Name, URL: s.url, Pool: db.Pool}
}

// soon is how long after its time limit a program may end on a busy machine.
const soon = 15 * time.Second

// endsWithin sends a signal, requires that the program ends in time, and returns the error of the process.
func (p *program) endsWithin(t *testing.T, limit time.Duration) error {
	t.Helper()
	began := time.Now()
	p.signal(t, syscall.SIGTERM)
	select {
	case err := <-p.ended:
		require.Less(t, time.Since(began), limit+soon, p.errOut.String())
		return err
	case <-time.After(patience):
		p.signal(t, syscall.SIGQUIT)
		<-p.ended //nolint:errcheck // the signal ended it
		require.FailNow(t, "it does not end", "%.60000s", p.errOut.String())
		return nil
	}
}

func TestSIGTERMEndsAWorkerInTimeWhoseServerIsSilent(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	s := newSilenced(t, db)
	p := start(t, s.through(db), "work", "--http-addr", "off", "--shutdown-timeout", "2s")
	p.errOut.await(t, "Worker: ready")
	run(t, on(db), "scaleout", "--template", "letter", "--count", "2000", "--prefix", "p", "--actor", "a").done(t)
	db.WaitFor(t, patience, "SELECT count(*) > 100 FROM public.iu_auto_instantiate_event_log")
	s.silence()
	exit := new(exec.ExitError)
	require.ErrorAs(t, p.endsWithin(t, 2*time.Second), &exit)
	require.Equal(t, exitFailed, exit.ExitCode())
	require.Regexp(t, `(?m)^iuworker: timed out stopping: (.*River.*, after \S+s; |the (worker|connection pool), after 2s$)`, p.errOut.String(),
		"the worker names its parts 200 ms before the deadline, unless the machine is too busy")
}

func TestSIGTERMEndsAWorkerInTimeThatWaitsForALock(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"iu_river.river_job", "iu_outbox.event", "iu_outbox.emission", "iu_outbox.worker"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			db.Template(t, "letter", 1)
			p := start(t, db, "work", "--http-addr", "off", "--shutdown-timeout", "2s")
			p.errOut.await(t, "Worker: ready")
			tx, err := db.Pool.Begin(t.Context())
			require.NoError(t, err)
			defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
			_, err = tx.Exec(t.Context(), "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
			require.NoError(t, err)
			iutest.WaitBlocked(t, db, 1)
			_ = p.endsWithin(t, 2*time.Second) // its exit code does not matter, only when it ends
		})
	}
}

func TestSIGTERMEndsAWorkerInTimeThatSendsStreams(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	p := start(t, db, "work", "--http-addr", "127.0.0.1:0", "--shutdown-timeout", "2s")
	p.errOut.await(t, "Worker: ready")
	found := regexp.MustCompile(`"url":"http://([^"/]+)/"`).FindStringSubmatch(p.errOut.String())
	require.NotNil(t, found, p.errOut.String())
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", found[1]) // a client that neither reads nor closes
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // the test is over
	_, err = io.WriteString(conn, "GET /v1/events?after=0 HTTP/1.1\r\nHost: "+found[1]+"\r\n\r\n")
	require.NoError(t, err)
	half, err := new(net.Dialer).DialContext(t.Context(), "tcp", found[1]) // a client that never completes its request
	require.NoError(t, err)
	defer half.Close() //nolint:errcheck // the test is over
	_, err = io.WriteString(half, "POST / HTTP/1.1\r\nHost: "+found[1]+"\r\nContent-Length: 1000\r\n\r\nx")
	require.NoError(t, err)
	_ = p.endsWithin(t, 2*time.Second) // its exit code depends on how busy the machine is, since the requests last until shortly before
}

// A signal ends every command promptly, whatever it waits for.
func TestSIGTERMEndsCommandsWhoseServerIsSilent(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"status", "status --watch", "subscribe --after 0", "subscribe --consumer c", "verify", "doctor", "conformance", "selftest",
		"migrate up", "migrate status", "enqueue --template letter", "scaleout --template letter --count 10 --prefix p --actor a --watch",
		"rollback --actor a", "gate status", "retry --list", "consumers", "trace 1", "work --http-addr off --shutdown-timeout 2s",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.Template(t, "letter", 1)
			s := newSilenced(t, db)
			if !strings.Contains(args, "--watch") && !strings.HasPrefix(args, "subscribe") {
				s.silence() // from the start: it cannot connect
			}
			p := start(t, s.through(db), strings.Fields(args)...)
			if strings.Contains(args, "--watch") || strings.HasPrefix(args, "subscribe") {
				db.WaitFor(t, patience, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'iuworker'")
				s.silence()
			} else {
				s.accepted(t)
			}
			_ = p.endsWithin(t, commandStop)
			require.NotContains(t, p.errOut.String(), "goroutine")
		})
	}
}

// accepted waits until a client has connected.
func (s *silenced) accepted(t *testing.T) {
	t.Helper()
	iutest.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) > 0
	}, patience)
}

// full returns a full pipe that nothing reads.
func full(t *testing.T) *os.File {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = reader.Close() // the test is over
		_ = writer.Close()
	})
	fd := int(writer.Fd())
	require.NoError(t, syscall.SetNonblock(fd, true))
	for {
		if _, err := syscall.Write(fd, make([]byte, 4096)); err != nil {
			require.ErrorIs(t, err, syscall.EAGAIN)
			break
		}
	}
	require.NoError(t, syscall.SetNonblock(fd, false))
	return writer
}

// startWith starts the program with files for stdout and stderr. nil means the program's buffer.
func startWith(t *testing.T, db *iutest.DB, stdout, stderr *os.File, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(t.Context(), os.Args[0], args...), out: newBuffer(), errOut: newBuffer(), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+db.URL)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errOut
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	if stderr != nil {
		p.cmd.Stderr = stderr
	}
	require.NoError(t, p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }()
	return p
}

func TestAWorkerWorksAndEndsThoughNobodyReadsItsStderr(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	p := startWith(t, db, nil, full(t), "work", "--http-addr", "off", "--log-level", "debug")
	run(t, on(db), "scaleout", "--template", "letter", "--count", "100", "--prefix", "p", "--actor", "a").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 100 FROM iu_outbox.emission WHERE position IS NOT NULL")
	require.NoError(t, p.endsWithin(t, 20*time.Second))
	var workers int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.worker").Scan(&workers))
	require.Zero(t, workers, "it signed off")
}

func TestACommandThatFailsEndsThoughNobodyReadsItsStderr(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "status")
	cmd.Env = append(os.Environ(), runsMain+"=1", "IUWORKER_DATABASE_URL="+nowhere)
	cmd.Stderr = full(t)
	exit := new(exec.ExitError)
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, exitFailed, exit.ExitCode())
}

// A reader of stdout that has stopped makes a subscriber wait, but does not prevent it from ending.
func TestASubscriberEndsThoughItsReaderIsStopped(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a", "b")
	p := startWith(t, db, full(t), nil, "subscribe", "--consumer", "c")
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.consumer WHERE name = 'c'")
	if err := p.endsWithin(t, commandStop); err != nil { // a busy machine may need all that time
		require.Contains(t, p.errOut.String(), "timed out stopping: ")
	}
	var position int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT position FROM iu_outbox.consumer WHERE name = 'c'").Scan(&position))
	require.Zero(t, position, "what was not written was not handled")
}

func TestACancelledCommandEnds(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runWith(ctx, on(db), "status")
	require.Equal(t, exitFailed, r.code)
	r.oneSentence(t)
}
