package operate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/listen"
)

func (e *examination) connection(ctx context.Context) (DoctorCheck, error) {
	ctx, cancel := context.WithTimeout(ctx, min(4*time.Second, e.cfg.Timeout))
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

const (
	oldestServer = 15
	newestServer = 18
)

func (e *examination) server(ctx context.Context) (DoctorCheck, error) {
	var number int
	var version string
	var standby, readOnly bool
	err := e.row(ctx, []any{&number, &version, &standby, &readOnly}, `
		SELECT pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('server_version'),
			pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')::boolean`)
	switch major := number / 10_000; {
	case err != nil:
		return DoctorCheck{}, err
	case major < oldestServer:
		return failed("this is PostgreSQL %s, and iuworker needs %d to %d", version, oldestServer, newestServer).
			so("upgrade the server"), nil
	case standby:
		return failed("this server is a standby: nothing can be written").so("pass the address of the primary, or promote this server"), nil
	case readOnly:
		return failed("sessions of this login are read-only by default").
			so("pass the address of the primary, or reset default_transaction_read_only", ""), nil
	case major > newestServer:
		return warn("this is PostgreSQL %s, and iuworker is tested on %d to %d", version, oldestServer, newestServer).
			so("check for a newer iuworker"), nil
	}
	return fine("PostgreSQL %s, a primary", version), nil
}

// clock compares this machine's clock with the server's: retries are scheduled by the one and fetched by the other.
func (e *examination) clock(ctx context.Context) (DoctorCheck, error) {
	var before, after, there time.Time
	err := e.read(ctx, func(tx pgx.Tx) error {
		before = time.Now()
		err := tx.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&there)
		after = time.Now()
		return err
	})
	if err != nil {
		return DoctorCheck{}, err
	}
	took := after.Sub(before)
	return judgeClock(before.Add(took/2).Sub(there), took/2), nil
}

// judgeClock judges how far this machine's clock is ahead, known to within some time.
func judgeClock(ahead, within time.Duration) DoctorCheck {
	off := max(ahead.Abs()-within, 0)
	where := "ahead of"
	if ahead < 0 {
		where = "behind"
	}
	says := fmt.Sprintf("this machine's clock is %s %s the server's", lasted(off.Seconds()), where)
	switch {
	case off > time.Minute:
		return failed("%s: retries come that much early or late", says).so("synchronise the clocks of both machines by NTP", "timedatectl")
	case off > 2*time.Second:
		return warn("%s", says).so("synchronise the clocks of both machines by NTP", "timedatectl")
	case off < 100*time.Millisecond:
		return fine("this machine's clock agrees with the server's")
	}
	return fine("%s", says)
}

// listener sends a notification through the pool and waits for it where a worker listens.
func (e *examination) listener(ctx context.Context) (DoctorCheck, error) {
	ctx, cancel := context.WithTimeout(ctx, listen.ProbeTimeout+checkTimeout)
	defer cancel()
	start := time.Now()
	works, err := listen.Works(ctx, e.cfg.Pool, e.cfg.Direct)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return DoctorCheck{}, err
	case err != nil:
		return failed("no notification could be sent: %s", e.cfg.Explain(err)).
			so("pass an address where LISTEN works as --direct-database-url"), nil
	case !works:
		return warn("a notification does not arrive within %s: there is a transaction pooler in between", listen.ProbeTimeout).
			so("workers poll, which costs latency: pass the server's own address as --direct-database-url, too", "iuworker work --direct-database-url ..."), nil
	}
	return fine("a notification arrives in %s, connecting included", time.Since(start).Round(time.Millisecond)), nil
}

// notifications fill up where a session that listens stays in a transaction: at last, every NOTIFY fails at commit.
func (e *examination) notifications(ctx context.Context) (DoctorCheck, error) {
	var usage float64
	if err := e.row(ctx, []any{&usage}, "SELECT pg_catalog.pg_notification_queue_usage()"); err != nil {
		return DoctorCheck{}, err
	}
	if usage < 0.05 {
		return fine("the notification queue is %.1f%% full", usage*100), nil
	}
	open, err := e.openTransactions(ctx, true)
	if err != nil {
		return DoctorCheck{}, err
	}
	return judgeNotifications(usage, open), nil
}

func judgeNotifications(usage float64, open []openTransaction) DoctorCheck {
	found := warn("the notification queue is %.0f%% full", usage*100)
	if usage >= 0.5 {
		found = failed("the notification queue is %.0f%% full: emissions go without a NOTIFY, and when it is full, commits that notify fail", usage*100)
	}
	var details []string
	for _, t := range open {
		details = append(details, t.String())
	}
	return found.with(details).so("end the listening session that has been in a transaction for long", terminate(open))
}
