package webui

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

const outageEvery = time.Second

var (
	outageTimeout = 2 * time.Second
	outageWait    = 100 * time.Millisecond // that a page waits for a check
)

// lostDatabase is the content of the banner.
type lostDatabase struct {
	Address, Cause string
	Since          time.Time // when it was first found unreachable
	Good           time.Time // when it was last reached; zero: never
	Readable       bool      // a standby can be read
}

// lost returns nil if the database can be reached.
func (h *Handler) lost(ctx context.Context) *lostDatabase {
	reached := h.sources.reached.soon(ctx, outageWait)
	if reached.Err == nil {
		return nil
	}
	return &lostDatabase{Address: addressOf(h.cfg.Pool), Cause: causeOf(reached.Err), Since: reached.Since, Good: reached.At, Readable: h.readable()}
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
