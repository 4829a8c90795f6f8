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

// connector reads an address again before each connection is made, and knows which server was good last. pgx calls it as a
// tracer of connections, with a configuration that is this connection's own; nothing else that is told before one is made
// goes with a configuration through every way to connect, that of a pool and that of pgx.ConnectConfig. Safe for concurrent use.
type connector struct {
	source Source
	first  *plan // as the configuration was made: what differs from it was changed by its user, and stays

	mu     sync.Mutex
	last   *plan                // the newest good reading
	broken string               // what is wrong with the source since
	good   string               // address of the server that was connected to last
	bad    map[string]time.Time // when an address failed last
}

// TraceQueryStart implements pgx.QueryTracer; it is never called, since the tracer leaves its configuration.
func (*connector) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (*connector) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// target is one server, by one of its addresses.
type target struct {
	host    host
	address string // IP address, or as host.name for sockets
	err     error  // why there is no address
}

func (t target) key() string { return fmt.Sprintf("%s %d", t.address, t.host.port) }

// attempt is the making of one connection.
type attempt struct {
	entries []target // as in the configuration: one for each way to secure the connection

	mu     sync.Mutex // pgconn dials once more, in a goroutine of its own, to cancel what it gave up
	tried  []target   // and dialed, in their order
	again  bool       // no other server was better: the preferred one is dialed again
	over   bool       // what is dialed from now on makes no connection
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

// next returns which server is dialed: the next one, or the one at the address once more.
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

// TraceConnectStart implements pgx.ConnectTracer. It points the configuration at the address that the source has now.
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

// TraceConnectEnd implements pgx.ConnectTracer. It remembers which server was good.
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

// refresh reads the source. If it cannot be read any more, the newest good reading is returned, and the log says so once.
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

// resolve looks up all hosts at once, each within the time that it has.
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

// sort puts first what is to be tried first: the server that was good last, or any that did not just fail if the load is to
// be spread.
func (c *connector) sort(p *plan, targets []target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := func(t target) int { // 1 for what comes last
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

// share shortens a timeout, if all servers would not get their turn otherwise before ctx is over.
func share(ctx context.Context, timeout time.Duration, among int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || among < 2 {
		return timeout
	}
	return min(timeout, max(time.Until(deadline)/time.Duration(among), 100*time.Millisecond))
}

// lookup returns what resolve found, entry by entry: pgconn asks in the order of the configuration, for all but directories.
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

// dial returns a dial that takes the host's own password, and knows sockets that have no place in a file system.
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

// validate judges a server once, however many ways there are to secure a connection to it: a second try would be less secure,
// and find the same.
func (a *attempt) validate(judge pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		server, again := a.dialed()
		if before := a.judged[server.key()]; before != nil && !again {
			return fmt.Errorf("%s, as found before", before.Error()) // not wrapped: it is no server to come back to
		}
		err := judge(ctx, conn)
		if again && errors.Is(err, errReadOnly) {
			return nil
		}
		a.judged[server.key()] = err
		return err
	}
}

// preferWritable prefers a server that may write, if several are there and the address does not say which to take: one that
// may not is of use only if there is no other.
func preferWritable(_ context.Context, conn *pgconn.PgConn) error {
	if readOnly(conn) {
		return errReadOnly
	}
	return nil
}

// readOnly reports whether the server announced, while the connection was made, that it is read-only.
func readOnly(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("in_hot_standby") == "on" || conn.ParameterStatus("default_transaction_read_only") == "on"
}

var errReadOnly error = &readOnlyError{}

// readOnlyError makes pgconn try the next server, and come back to this one if there is none.
type readOnlyError struct{}

func (*readOnlyError) Error() string { return "the server is read-only" }

// As implements what errors.As asks for: pgconn.NotPreferredError can be made by its own package alone.
func (*readOnlyError) As(target any) bool {
	to, ok := target.(**pgconn.NotPreferredError)
	if ok {
		*to = &pgconn.NotPreferredError{}
	}
	return ok
}

// hostError is a host whose address is not known.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string { return "look up " + e.host + ": " + e.err.Error() }
func (e *hostError) Unwrap() error { return e.err }
