package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
	consumers   []*consumer
	application *link
	subscribers []*subscriber
	record      *record
	load        *load
	watching    sync.WaitGroup // stream clients
	stopWatch   context.CancelFunc
	loading     sync.WaitGroup
	stopLoad    context.CancelFunc
}

// worker is a worker process with its network and the address that it serves.
type worker struct {
	*process

	link *link
	http string
}

// consumer is one process of a durable consumer.
type consumer struct {
	*process

	link *link
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

// newLink opens the network of one process, and returns the address of the database through it.
func (in *installation) newLink(ctx context.Context, name string) (*link, string, error) {
	dir := filepath.Join(in.dir, "net", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	l, err := newLink(ctx, in.network, dir, in.target)
	if err != nil {
		return nil, "", err
	}
	in.links = append(in.links, l)
	host, port := l.place()
	return l, in.cfg.Address(in.db.Name, host, port), nil
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

// newProcess starts a process with a network of its own.
func (in *installation) newProcess(
	ctx context.Context, name string, read func(int, io.Reader), args ...string,
) (*process, *link, error) {
	l, address, err := in.newLink(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	log, err := in.create(name + ".log")
	if err != nil {
		return nil, nil, err
	}
	p := &process{
		name: name, path: in.cfg.Program, args: append(args, "--log-format", "json"), log: log, read: read,
		env: append(slices.Clip(in.cfg.Environ), "IUWORKER_DATABASE_URL="+address),
	}
	p.start(ctx)
	in.processes = append(in.processes, p)
	return p, l, nil
}

func (in *installation) startWorkers(ctx context.Context) error {
	for i := range in.cfg.Workers {
		address, err := freeAddress(ctx)
		if err != nil {
			return err
		}
		p, l, err := in.newProcess(ctx, fmt.Sprintf("worker-%d", i+1), nil, "work", "--http-addr", address, "--shutdown-timeout", "10s")
		if err != nil {
			return err
		}
		in.workers = append(in.workers, &worker{p, l, address})
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
			p, l, err := in.newProcess(ctx, fmt.Sprintf("%s%c", s.name, 'a'+n), read, "subscribe", "--consumer", s.name, "--from", "beginning")
			if err != nil {
				return err
			}
			in.consumers = append(in.consumers, &consumer{p, l})
		}
	}
	var addresses []string
	for _, w := range in.workers {
		addresses = append(addresses, w.http)
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in.stopWatch = cancel
	for i := range streams {
		s, err := in.newSubscriber(fmt.Sprintf("stream-%d", i+1))
		if err != nil {
			return err
		}
		s.stream = true
		in.watching.Go(func() { s.follow(watching, addresses) })
	}
	return nil
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

// stopProcesses ends all processes and clients, at once: quickly kills them.
func (in *installation) stopProcesses(quickly bool) {
	if in.stopWatch != nil {
		in.stopWatch()
	}
	end := syscall.SIGTERM
	if quickly {
		end = syscall.SIGKILL
	}
	var stopping sync.WaitGroup
	for _, p := range in.processes {
		stopping.Go(func() { p.stop(end, stopGrace) })
	}
	stopping.Wait()
	in.watching.Wait()
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
