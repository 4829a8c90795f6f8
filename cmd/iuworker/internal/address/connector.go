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

	"github.com/iu-core/iuworker/internal/dbsession"
)

// connector reads an address again before each connection, and remembers which server worked last. It is a tracer because pgx
// has no other hook that both a pool and pgx.ConnectConfig call before they connect. Safe for concurrent use.
type connector struct {
	pgx.QueryTracer // nil, since TraceConnectStart removes the tracer before the first query

	source Source
	first  *plan // of the configuration; the caller changed what differs from it, and that stays

	mu     sync.Mutex
	last   *plan                // the newest good reading
	broken string               // what is wrong with the source since then
	good   string               // address of the server that worked last
	bad    map[string]time.Time // when an address failed last
}

// target is one address of a server.
type target struct {
	host    host
	address string // IP address; for sockets, host.name
	err     error  // why the name could not be resolved
}

func (t target) key() string { return fmt.Sprintf("%s %d", t.address, t.host.port) }

// attempt is the making of one connection.
type attempt struct {
	plan    *plan
	entries []target         // as in the configuration: one for each way to secure a connection
	judged  map[string]error // by validate

	mu    sync.Mutex // pgconn dials in another goroutine to cancel a query
	tried []target   // what was dialed, in that order
	over  bool       // what is dialed from now on does not belong to the attempt
}

// dialed returns the server that was dialed last, and whether pgconn returned to it because no other server was better.
func (a *attempt) dialed() (last target, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tried[len(a.tried)-1], len(a.tried) > len(a.resolved())
}

// dials records that t is dialed, and reports whether the attempt still runs.
func (a *attempt) dials(t target) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.tried = append(a.tried, t)
	}
	return !a.over
}

// end ends the attempt, and returns what was dialed.
func (a *attempt) end() []target {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	return a.tried
}

// resolved returns the entries that pgconn dials.
func (a *attempt) resolved() []target {
	return slices.DeleteFunc(slices.Clone(a.entries), func(t target) bool { return t.err != nil })
}

type attemptKey struct{}

// TraceConnectStart implements pgx.ConnectTracer. It makes the configuration lead to the source's current address.
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
	a := &attempt{plan: p, judged: map[string]error{}}
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
	if wanted := cmp.Or(a.plan.settings["target_session_attrs"], "any"); wanted != "any" || !dbsession.ReadOnly(data.Conn.PgConn()) {
		c.good = good
	}
}

// refresh reads the source. If that fails, it logs each new error once and returns the last good reading.
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

// resolve looks up all hosts concurrently, each within its own timeout.
func resolve(ctx context.Context, cfg *pgx.ConnConfig, p *plan) (targets []target) {
	found := make([][]target, len(p.hosts))
	var lookups sync.WaitGroup
	for i, h := range p.hosts {
		switch {
		case len(h.addresses) > 0:
			found[i] = []target{{host: h, address: h.addresses[0]}}
		case isSocket(h.name) || net.ParseIP(h.name) != nil || strings.Contains(h.name, ":"):
			found[i] = []target{{host: h, address: h.name}}
		default:
			lookups.Go(func() {
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
	lookups.Wait()
	return slices.Concat(found...)
}

const badFor = 30 * time.Second

// sort puts the server that worked last first. To spread the load, it shuffles the servers instead, and puts those that failed
// recently last.
func (c *connector) sort(p *plan, targets []target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	later := func(t target) bool { return t.key() != c.good }
	if p.random {
		rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
		later = func(t target) bool { return time.Since(c.bad[t.key()]) < badFor }
	}
	slices.SortStableFunc(targets, func(a, b target) int {
		switch {
		case later(a) == later(b):
			return 0
		case later(a):
			return 1
		default:
			return -1
		}
	})
}

// share shortens a timeout so that each server is tried before ctx ends.
func share(ctx context.Context, timeout time.Duration, among int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || among < 2 {
		return timeout
	}
	return min(timeout, max(time.Until(deadline)/time.Duration(among), 100*time.Millisecond))
}

// lookup returns a lookup function that returns what resolve found. pgconn calls it in the order of the entries, except for
// directories.
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

// dial returns a dial function that sets the host's own password, checks requirepeer and can dial abstract sockets.
func (a *attempt) dial(cfg *pgx.ConnConfig) pgconn.DialFunc {
	dial := cfg.DialFunc
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		t := a.byAddress(address)
		// pgconn also dials in another goroutine, to cancel what a host did not finish, while the attempt goes on with the next one.
		if ctx.Value(attemptKey{}) == a && a.dials(t) {
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
	for _, t := range a.resolved() {
		if _, dialed := pgconn.NetworkAddress(t.address, t.host.port); dialed == address {
			return t
		}
	}
	return target{address: address}
}

// validate judges a server once, even if there are several ways to secure a connection to it: a second try would be less secure
// and have the same result.
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

// preferWritable refuses a read-only server while there may be another one. It is for several hosts without
// target_session_attrs.
func preferWritable(_ context.Context, conn *pgconn.PgConn) error {
	if dbsession.ReadOnly(conn) {
		return errReadOnly
	}
	return nil
}

var errReadOnly error = &readOnlyError{}

// readOnlyError makes pgconn try the next server, and return to this one if there is no other.
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
