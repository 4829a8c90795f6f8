package address

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connector reads an address again before each connection, and remembers which server worked last. It is a tracer of
// connections: pgx calls it with the connection's own configuration, and there is no other hook that both a pool and
// pgx.ConnectConfig call before they connect. Safe for concurrent use.
type connector struct {
	source Source
	first  *plan // of the configuration: what differs from it was changed by the caller, and stays

	mu     sync.Mutex
	last   *plan                // the newest good reading
	broken string               // what is wrong with the source since then
	good   string               // address of the server that worked last
	bad    map[string]time.Time // when an address failed last
}

// TraceQueryStart implements pgx.QueryTracer. It is never called: TraceConnectStart removes the tracer.
func (*connector) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*connector) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// target is one server, by one of its addresses.
type target struct {
	host    host
	address string // IP address; for sockets, host.name
	err     error  // why the name could not be resolved
}

func (t target) key() string { return fmt.Sprintf("%s %d", t.address, t.host.port) }

// attempt is the making of one connection.
type attempt struct {
	entries []target // as in the configuration: one for each way to secure a connection

	mu     sync.Mutex // pgconn dials in another goroutine to cancel a query
	tried  []target   // what was dialed, in that order
	again  bool       // no other server was better: the first one is dialed again
	over   bool       // from now on, what is dialed belongs to no attempt
	judged map[string]error
	plan   *plan
}

// dialed returns the server that was dialed last, and whether that was once more, as no other server was better.
func (a *attempt) dialed() (last target, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tried[len(a.tried)-1], a.again
}

// end ends the attempt, and returns what was dialed.
func (a *attempt) end() []target {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	return a.tried
}

// next returns the server to dial: the next one that waits, or again the one at the address.
func (a *attempt) next(waiting *[]target, address string) (t target, counts bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return a.byAddress(address), false
	}
	if t = a.byAddress(address); len(*waiting) > 0 {
		t, *waiting = (*waiting)[0], (*waiting)[1:]
	} else {
		a.again = true
	}
	a.tried = append(a.tried, t)
	return t, true
}

type attemptKey struct{}

// TraceConnectStart implements pgx.ConnectTracer. It makes the configuration lead to the address that the source has now.
func (c *connector) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	cfg := data.ConnConfig
	cfg.Tracer = nil
	p := c.refresh(ctx)
	if cfg.User == c.first.user {
		cfg.User = p.user
	}
	if cfg.Database == c.first.database {
		cfg.Database = p.database
	}
	targets := resolve(ctx, cfg, p)
	c.sort(p, targets)
	a := &attempt{judged: map[string]error{}, plan: p}
	a.entries = p.aim(cfg, targets)
	cfg.ConnectTimeout = share(ctx, p.timeoutOf(len(targets)), len(targets))
	cfg.LookupFunc = a.lookup()
	cfg.DialFunc = a.dial(cfg)
	switch {
	case cfg.ValidateConnect != nil:
		cfg.ValidateConnect = a.validate(cfg.ValidateConnect)
	case len(targets) > 1 && p.settings["target_session_attrs"] == "":
		cfg.ValidateConnect = a.validate(preferWritable)
	}
	return context.WithValue(ctx, attemptKey{}, a)
}

// TraceConnectEnd implements pgx.ConnectTracer. It remembers which server worked.
func (c *connector) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	tried := a.end()
	for _, t := range tried {
		c.bad[t.key()] = time.Now()
	}
	if data.Err != nil || len(tried) == 0 {
		return
	}
	good := tried[len(tried)-1].key()
	delete(c.bad, good)
	if wanted := cmp.Or(a.plan.settings["target_session_attrs"], "any"); wanted != "any" || !readOnly(data.Conn.PgConn()) {
		c.good = good
	}
}

// refresh reads the source. If that fails, it returns the last good reading, and logs each error once.
func (c *connector) refresh(ctx context.Context) *plan {
	p, err := c.source.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		if c.broken != "" {
			c.source.Logger.InfoContext(ctx, "Database: the address can be read again")
		}
		c.last, c.broken = p, ""
		return p
	}
	if c.broken != err.Error() {
		c.broken = err.Error()
		c.source.Logger.WarnContext(ctx, "Database: the address cannot be read again; what was read before stays in use", slog.String("error", c.broken))
	}
	return c.last
}

// resolve looks up all hosts at once, each within its own timeout.
func resolve(ctx context.Context, cfg *pgx.ConnConfig, p *plan) (targets []target) {
	found := make([][]target, len(p.hosts))
	var looking sync.WaitGroup
	for i, h := range p.hosts {
		switch {
		case len(h.addresses) > 0:
			found[i] = []target{{host: h, address: h.addresses[0]}}
		case isSocket(h.name) || net.ParseIP(h.name) != nil || strings.Contains(h.name, ":"):
			found[i] = []target{{host: h, address: h.name}}
		default:
			looking.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, p.timeoutOf(len(p.hosts)))
				defer cancel()
				addresses, err := cfg.LookupFunc(ctx, h.name)
				if err != nil {
					found[i] = []target{{host: h, err: err}}
				}
				for _, address := range addresses {
					found[i] = append(found[i], target{host: h, address: address})
				}
			})
		}
	}
	looking.Wait()
	return slices.Concat(found...)
}

const badFor = 30 * time.Second

// sort puts the server that worked last first. To spread the load, it shuffles the servers instead, those that failed
// recently last.
func (c *connector) sort(p *plan, targets []target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := func(t target) int { // 1 for those that come last
		if t.key() == c.good {
			return 0
		}
		return 1
	}
	if p.random {
		rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
		last = func(t target) int {
			if failed, ok := c.bad[t.key()]; ok && time.Since(failed) < badFor {
				return 1
			}
			return 0
		}
	}
	slices.SortStableFunc(targets, func(a, b target) int { return last(a) - last(b) })
}

// share shortens a timeout, so that each server has its turn before ctx ends.
func share(ctx context.Context, timeout time.Duration, among int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || among < 2 {
		return timeout
	}
	return min(timeout, max(time.Until(deadline)/time.Duration(among), 100*time.Millisecond))
}

// lookup returns what resolve found, entry by entry: pgconn asks in that order, and skips directories.
func (a *attempt) lookup() pgconn.LookupFunc {
	waiting := slices.DeleteFunc(slices.Clone(a.entries), func(t target) bool { return strings.HasPrefix(t.host.name, "/") })
	return func(_ context.Context, name string) ([]string, error) {
		if len(waiting) == 0 {
			return nil, fmt.Errorf("%s was not looked up", name)
		}
		next := waiting[0]
		waiting = waiting[1:]
		if next.err != nil {
			return nil, &hostError{host: next.host.String(), err: next.err}
		}
		return []string{next.address}, nil
	}
}

// dial returns a dial function that uses each host's own password, and can dial abstract sockets.
func (a *attempt) dial(cfg *pgx.ConnConfig) pgconn.DialFunc {
	dial := cfg.DialFunc
	waiting := slices.DeleteFunc(slices.Clone(a.entries), func(t target) bool { return t.err != nil })
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		t, counts := a.next(&waiting, address)
		if counts {
			cfg.Password = t.host.password
		}
		if strings.HasPrefix(t.address, "@") {
			network, address = "unix", t.host.String()
		}
		conn, err := dial(ctx, network, address)
		if err != nil || a.plan.peer == "" || network != "unix" {
			return conn, err
		}
		if err := checkPeer(conn, a.plan.peer); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	}
}

func (a *attempt) byAddress(address string) target {
	for _, t := range a.entries {
		if _, dialed := pgconn.NetworkAddress(t.address, t.host.port); t.err == nil && dialed == address {
			return t
		}
	}
	return target{address: address}
}

// validate checks a server once, however many ways there are to secure a connection to it: a second try would be less
// secure, with the same result.
func (a *attempt) validate(judge pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		server, again := a.dialed()
		if before := a.judged[server.key()]; before != nil && !again {
			return fmt.Errorf("%s, as found before", before.Error()) // not wrapped, so that pgconn does not return to this server
		}
		err := judge(ctx, conn)
		if again && errors.Is(err, errReadOnly) {
			return nil
		}
		a.judged[server.key()] = err
		return err
	}
}

// preferWritable refuses a read-only server as long as there may be another. It applies to several hosts without
// target_session_attrs.
func preferWritable(_ context.Context, conn *pgconn.PgConn) error {
	if readOnly(conn) {
		return errReadOnly
	}
	return nil
}

// readOnly reports whether the server said at the start of the connection that it is read-only.
func readOnly(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") == "on" || conn.ParameterStatus("default_transaction_read_only") == "on"
}

var errReadOnly error = &readOnlyError{}

// readOnlyError makes pgconn try the next server, and return to this one if there is none.
type readOnlyError struct{}

func (*readOnlyError) Error() string { return "the server is read-only" }

// As lets errors.As find a pgconn.NotPreferredError, which only pgconn can make.
func (*readOnlyError) As(target any) bool {
	to, ok := target.(**pgconn.NotPreferredError)
	if ok {
		*to = &pgconn.NotPreferredError{}
	}
	return ok
}

// hostError is a host that cannot be resolved.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string { return "look up " + e.host + ": " + e.err.Error() }
func (e *hostError) Unwrap() error { return e.err }
