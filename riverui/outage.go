package webui

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

const (
	outageEvery   = time.Second
	outageTimeout = 2 * time.Second
	outageWait    = 100 * time.Millisecond // that a page waits for the first check
)

// outage knows whether the database can be reached, and since when it cannot.
type outage struct {
	pool *pgxpool.Pool

	mu      sync.Mutex
	running chan struct{} // closed when the check that runs ends; nil: none runs
	at      time.Time     // of the last check
	good    time.Time     // when the database was reached last
	since   time.Time     // when it was first missed; zero: it is there
	cause   string
}

// lostDatabase is the content of the banner.
type lostDatabase struct {
	Address, Cause string
	Since          time.Time
	Good           *time.Time // when the numbers are from; nil: there are none
}

// check returns nil if the database can be reached. It waits for outageWait at most.
func (o *outage) check(ctx context.Context) *lostDatabase {
	o.mu.Lock()
	if o.running == nil && time.Since(o.at) >= outageEvery {
		o.running = make(chan struct{})
		go o.ping(context.WithoutCancel(ctx), o.running)
	}
	running := o.running
	o.mu.Unlock()
	if running != nil {
		timer := time.NewTimer(outageWait)
		defer timer.Stop()
		select {
		case <-running:
		case <-timer.C:
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return nil
	}
	lost := &lostDatabase{Address: addressOf(o.pool), Cause: o.cause, Since: o.since}
	if !o.good.IsZero() {
		good := o.good
		lost.Good = &good
	}
	return lost
}

func (o *outage) ping(ctx context.Context, ended chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, outageTimeout)
	defer cancel()
	start := time.Now()
	err := o.pool.Ping(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	defer close(ended)
	o.running, o.at = nil, time.Now()
	if err == nil {
		o.good, o.since = o.at, time.Time{}
		return
	}
	if o.since.IsZero() {
		o.since = start
	}
	o.cause = causeOf(err)
}

// causeOf returns in a few words why a connection failed.
func causeOf(err error) string {
	pgErr, said := errors.AsType[*pgconn.PgError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case said:
		return dberror.Redact(pgErr.Message)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return "no reply within " + outageTimeout.String()
	case errors.Is(err, syscall.ENOENT):
		return "its socket does not exist"
	default:
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			return "host name not found: " + dns.Name
		}
		return "connection lost"
	}
}

// addressOf returns the hosts of a pool's connections.
func addressOf(pool *pgxpool.Pool) string {
	cfg := pool.Config().ConnConfig
	address := func(host string, port uint16) string {
		if strings.HasPrefix(host, "/") {
			return host
		}
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	hosts := []string{address(cfg.Host, cfg.Port)}
	for _, fallback := range cfg.Fallbacks { // a host has two, one with TLS and one without
		if next := address(fallback.Host, fallback.Port); next != hosts[len(hosts)-1] {
			hosts = append(hosts, next)
		}
	}
	return strings.Join(hosts, ", ")
}

// databaseOf names the database for the header: shop@db-1.
func databaseOf(pool *pgxpool.Pool) string {
	cfg := pool.Config().ConnConfig
	host := cfg.Host
	if strings.HasPrefix(host, "/") {
		host = "local socket"
	}
	return cfg.Database + "@" + host
}
