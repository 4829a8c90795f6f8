package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/pgserver"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/internal/scratch"
)

const (
	namePrefix  = "iuworker_drill_"
	ownSessions = "iuworker drill" // application_name of the sessions that watch
	stopGrace   = 10 * time.Second
	openLimit   = 30 * time.Second

	tokenVariable = "IUWORKER_EVENTS_TOKEN"
)

// installation is a scratch database with its workers, consumers, stream clients and an application, each behind a network of
// its own.
type installation struct {
	cfg     Config
	dir     string // logs and what was received
	server  *pgxpool.Config
	db      *scratch.Database
	pool    *pgxpool.Pool // to watch, past the proxies
	network string

	mu        sync.Mutex
	own       *pgserver.Server   // the primary; nil if it is not ours
	promoted  []*pgserver.Server // standbys, which replace cfg.Own
	retired   int                // servers
	links     []*link
	processes []*process
	files     []*os.File

	workers     []*worker
	consumers   []*process
	streams     []*process
	application *link
	subscribers []*subscriber
	record      *record
	load        *load
	loading     sync.WaitGroup
	stopLoad    context.CancelFunc
}

// worker is a worker process with the address that it serves.
type worker struct {
	*process

	http string
}

// install creates the database and starts everything. What it started is stopped by close, also if it fails.
func (in *installation) install(ctx context.Context) (err error) {
	cfg := in.cfg
	in.own = cfg.Own
	in.server = cfg.Server.Copy()
	in.network, _ = in.target()
	if cfg.Own != nil {
		in.server.ConnConfig.DialFunc = in.dial // the server may be replaced
	}
	in.server.ConnConfig.RuntimeParams["application_name"] = ownSessions
	in.server.MaxConnIdleTime = time.Minute
	in.cfg.Environ = append(slices.Clip(cfg.Environ), tokenVariable+"="+rand.Text()) // workers require it from stream clients, which come through a proxy
	in.db, err = scratch.Create(ctx, scratch.Config{Server: in.server, Prefix: namePrefix, PoolSize: 6, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	in.pool = in.db.Pool
	if err := in.startWorkers(ctx); err != nil {
		return err
	}
	if err := in.startSubscribers(ctx); err != nil {
		return err
	}
	return in.startLoad(ctx)
}

// target returns where the server is now.
func (in *installation) target() (network, address string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	host, port := in.cfg.Server.ConnConfig.Host, in.cfg.Server.ConnConfig.Port
	if in.own != nil {
		if at, err := pgx.ParseConfig(in.own.URL("postgres")); err == nil {
			host, port = at.Host, at.Port
		}
	}
	return pgconn.NetworkAddress(host, port)
}

// dial connects to the server that is the primary now, whatever the address says.
func (in *installation) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	network, address := in.target()
	return new(net.Dialer).DialContext(ctx, network, address)
}

// newLink opens the network of one process to the server, and returns the address of the database through it.
func (in *installation) newLink(ctx context.Context, name string) (*link, string, error) {
	l, err := in.openLink(ctx, name, in.network, in.target)
	if err != nil {
		return nil, "", err
	}
	host, port := l.place()
	return l, in.cfg.Address(in.db.Name, host, port), nil
}

// openLink opens the network of one process.
func (in *installation) openLink(ctx context.Context, name, network string, target func() (network, address string)) (*link, error) {
	dir := filepath.Join(in.dir, "net", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l, err := newLink(ctx, network, dir, target)
	if err == nil {
		in.links = append(in.links, l)
	}
	return l, err
}

// create creates a file of the evidence.
func (in *installation) create(name string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(in.dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		in.files = append(in.files, file)
	}
	return file, err
}

// retire ends a server of ours, keeps its log and removes its data.
func (in *installation) retire(server *pgserver.Server) error {
	in.retired++
	log, err := in.create(fmt.Sprintf("server-%d.log", in.retired))
	if err == nil {
		err = server.CopyLog(log)
	}
	return errors.Join(err, server.Stop())
}

// newProcess starts a process with a network of its own to the server.
func (in *installation) newProcess(ctx context.Context, name string, read func(int, io.Reader), args ...string) (*process, error) {
	l, address, err := in.newLink(ctx, name)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, args: args, read: read, env: []string{"IUWORKER_DATABASE_URL=" + address}, link: l}
	return p, in.run(ctx, p)
}

// run starts a process, whose stderr goes to a log of its own.
func (in *installation) run(ctx context.Context, p *process) (err error) {
	if p.log, err = in.create(p.name + ".log"); err != nil {
		return err
	}
	p.path = in.cfg.Program
	p.args = append(p.args, "--log-format", "json")
	p.env = append(slices.Clip(in.cfg.Environ), p.env...)
	p.start(ctx)
	in.processes = append(in.processes, p)
	return nil
}

func (in *installation) startWorkers(ctx context.Context) error {
	for i := range in.cfg.Workers {
		address, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		p, err := in.newProcess(ctx, fmt.Sprintf("worker-%d", i+1), nil, "work", "--http-addr", address, "--shutdown-timeout", "10s")
		if err != nil {
			return err
		}
		in.workers = append(in.workers, &worker{p, address})
	}
	return nil
}

// freeAddress returns a loopback address on which nothing listens. A worker that finds it taken is started again and again.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// startSubscribers starts the consumers, of which the first has two processes that compete, and the clients of streams.
func (in *installation) startSubscribers(ctx context.Context) error {
	for i := range consumers {
		s, err := in.newSubscriber(fmt.Sprintf("consumer-%d", i+1))
		if err != nil {
			return err
		}
		for n := range 2 - min(i, 1) {
			read := func(incarnation int, output io.Reader) { s.readLines(output, 2*incarnation+n) }
			p, err := in.newProcess(ctx, fmt.Sprintf("%s%c", s.name, 'a'+n), read, "subscribe", "--consumer", s.name, "--from", "beginning")
			if err != nil {
				return err
			}
			in.consumers = append(in.consumers, p)
		}
	}
	for i := range streams {
		s, err := in.newSubscriber(fmt.Sprintf("stream-%d", i+1))
		if err != nil {
			return err
		}
		if err := in.startStream(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// startStream starts a stream client, whose network leads each connection to the next worker.
func (in *installation) startStream(ctx context.Context, s *subscriber) error {
	s.stream = true
	var connections atomic.Int64
	next := func() (network, address string) {
		n := int(connections.Add(1)) + s.index
		return "tcp", in.workers[n%len(in.workers)].http
	}
	l, err := in.openLink(ctx, s.name, "tcp", next)
	if err != nil {
		return err
	}
	events := url.URL{Scheme: "http", Host: l.listener.Addr().String(), Path: "/v1/events"}
	p := &process{
		name: s.name, args: []string{StreamCommand, events.String()}, more: s.resume,
		read: func(_ int, output io.Reader) { s.readMessages(output) }, link: l,
	}
	in.streams = append(in.streams, p)
	return in.run(ctx, p)
}

func (in *installation) newSubscriber(name string) (*subscriber, error) {
	file, err := in.create(name + ".jsonl")
	if err != nil {
		return nil, err
	}
	s := &subscriber{name: name, index: len(in.subscribers), record: in.record, file: file}
	in.subscribers = append(in.subscribers, s)
	return s, nil
}

// startLoad opens the application's pool, through its own network.
func (in *installation) startLoad(ctx context.Context) error {
	l, _, err := in.newLink(ctx, "application")
	if err != nil {
		return err
	}
	in.application = l
	cfg := in.db.Config(producers)
	cfg.ConnConfig.RuntimeParams["application_name"] = "drill application"
	cfg.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		address := l.listener.Addr()
		return new(net.Dialer).DialContext(ctx, address.Network(), address.String())
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return fmt.Errorf("open the application's pool: %w", err)
	}
	log, err := in.create("application.log")
	if err != nil {
		return err
	}
	in.load = &load{
		pool: pool, record: in.record, template: in.db.Template, rate: in.cfg.Rate, rng: randomOf(in.cfg.Seed, "load", 0),
		outage: &retry.Outage{Logger: slog.New(slog.NewJSONHandler(log, nil)), What: "Application: insert"},
	}
	return nil
}

// beginLoad lets the application insert.
func (in *installation) beginLoad(ctx context.Context) {
	loading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in.stopLoad = cancel
	in.loading.Go(func() { in.load.run(loading) })
}

// endLoad ends the application, and waits for what it sent.
func (in *installation) endLoad() {
	if in.stopLoad != nil {
		in.stopLoad()
		in.loading.Wait()
	}
}

// stopProcesses ends all processes at once: quickly kills them.
func (in *installation) stopProcesses(quickly bool) {
	end := syscall.SIGTERM
	if quickly {
		end = syscall.SIGKILL
	}
	var stopping sync.WaitGroup
	for _, p := range in.processes {
		stopping.Go(func() { p.stop(end, stopGrace) })
	}
	stopping.Wait()
}

// close ends everything, and drops the database. It works after the end of ctx, too.
func (in *installation) close(ctx context.Context) (err error) {
	in.endLoad()
	in.stopProcesses(true)
	if in.load != nil {
		in.load.pool.Close()
	}
	for _, l := range in.links {
		l.close()
	}
	if in.db != nil {
		// A server of our own goes with its databases.
		if in.cfg.Own == nil {
			err = in.db.Drop(ctx)
		} else {
			in.db.Close(ctx)
		}
	}
	if in.own != nil {
		err = errors.Join(err, in.retire(in.own))
	}
	for _, server := range in.promoted {
		err = errors.Join(err, server.Stop())
	}
	for _, file := range in.files {
		err = errors.Join(err, file.Close())
	}
	return err
}
