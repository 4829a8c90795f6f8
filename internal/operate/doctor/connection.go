package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func (e *examination) connection(ctx context.Context, _ pgx.Tx) (Check, error) {
	ctx, cancel := context.WithTimeout(ctx, min(2*e.cfg.StatementTimeout, e.cfg.Timeout))
	defer cancel()
	start := time.Now()
	if err := e.cfg.Pool.Ping(ctx); err != nil {
		return failed("%s", e.cfg.Explain(err)).so("nothing else can be checked until there is a connection"), nil
	}
	first := time.Since(start)
	start = time.Now()
	if err := e.cfg.Pool.Ping(ctx); err != nil {
		return failed("the connection broke: %s", e.cfg.Explain(err)), nil
	}
	return fine("%s replies in %s (first in %s)", address(e.cfg.Pool.Config().ConnConfig),
		time.Since(start).Round(10*time.Microsecond), first.Round(time.Millisecond)), nil
}

// address names a database without a password, by all hosts that the address has.
func address(cfg *pgx.ConnConfig) string {
	hosts := []string{hostPort(cfg.Host, cfg.Port)}
	for _, other := range cfg.Fallbacks {
		if host := hostPort(other.Host, other.Port); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return fmt.Sprintf("database %s at %s, user %s,", cfg.Database, strings.Join(hosts, " or "), cfg.User)
}

func hostPort(host string, port uint16) string {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return host
	}
	return net.JoinHostPort(host, fmt.Sprint(port))
}

// place identifies a database of a server, and whether it can be written to.
type place struct {
	database  uint32
	started   time.Time
	standby   bool
	readOnly  bool
	connected string
}

const placeSQL = `
	SELECT (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()),
		pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_is_in_recovery(),
		pg_catalog.current_setting('default_transaction_read_only')::boolean,
		pg_catalog.current_database() || ' at ' || COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()) || ':'
			|| pg_catalog.inet_server_port(), 'a local socket')`

func (p *place) scan(row pgx.Row) error {
	return row.Scan(&p.database, &p.started, &p.standby, &p.readOnly, &p.connected)
}

// direct checks that the address for LISTEN, locks and migrations leads to the pool's database, which can be written to.
func (e *examination) direct(ctx context.Context, tx pgx.Tx) (Check, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*e.cfg.StatementTimeout)
	defer cancel()
	var pool, direct place
	if err := pool.scan(tx.QueryRow(ctx, placeSQL)); err != nil {
		return Check{}, err
	}
	conn, err := pgx.ConnectConfig(ctx, e.cfg.Direct)
	if err != nil {
		return failed("%s", e.cfg.Explain(err)).so("workers can neither listen nor hold their locks: pass an address that works", giveDirect), nil
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing) // it only read
	}()
	if err := direct.scan(conn.QueryRow(ctx, placeSQL)); err != nil {
		return Check{}, fmt.Errorf("read at the direct address: %w", err)
	}
	return judgeDirect(pool, direct), nil
}

const giveDirect = "iuworker work --direct-database-url ..."

func judgeDirect(pool, direct place) Check {
	const give = "give the address of the server that the first one leads to"
	switch {
	case direct.standby:
		return failed("sessions that listen and lock are on a standby: %s", direct.connected).so(give, giveDirect)
	case direct.database != pool.database || !direct.started.Equal(pool.started):
		return failed("the two addresses lead to different databases: %s and %s", pool.connected, direct.connected).
			so(give, giveDirect)
	case direct.readOnly:
		return failed("sessions that listen and lock are read-only by default").
			so("pass the address of the primary, or reset default_transaction_read_only", psql("SHOW default_transaction_read_only"))
	}
	return fine("both addresses lead to the same database, which can be written to")
}

const (
	oldestServer = 15
	newestServer = 18
)

func (e *examination) server(ctx context.Context, tx pgx.Tx) (Check, error) {
	var number int
	var version string
	var standby, readOnly bool
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('server_version'),
			pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')::boolean`).Scan(&number, &version, &standby, &readOnly)
	switch major := number / 10_000; {
	case err != nil:
		return Check{}, err
	case major < oldestServer:
		return failed("this is PostgreSQL %s, and iuworker needs %d to %d", version, oldestServer, newestServer).
			so("upgrade the server"), nil
	case standby:
		return failed("this server is a standby: nothing can be written").so("pass the address of the primary, or promote this server"), nil
	case readOnly:
		return failed("sessions of this login are read-only by default").
			so("pass the address of the primary, or reset default_transaction_read_only"), nil
	case major > newestServer:
		return warn("this is PostgreSQL %s, and iuworker is tested on %d to %d", version, oldestServer, newestServer).
			so("check for a newer iuworker"), nil
	}
	return fine("PostgreSQL %s, a primary", version), nil
}
