package address

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Source is where an address comes from.
type Source struct {
	Name   string              // what errors call it, such as --database-url
	Text   string              // the address; "" if only PG* give it
	File   string              // a file that holds the address in place of Text
	Getenv func(string) string // returns PG* and HOME; required
	Logger *slog.Logger        // logs that a file can no longer be read; required
}

// Config is a configuration of pgx.
type Config struct {
	Pool  *pgxpool.Config
	Sized bool // the address itself sets the size of the pool

	// Reread reads the source now, to log an error in it. The next connection reads it in any case.
	Reread func(ctx context.Context)
}

// Config reads the address and all files that it names, without connecting. Each connection that is made with the pool's
// ConnConfig, or a copy of it, reads them again. Errors are of the type *Error.
func (s Source) Config() (Config, error) {
	p, err := s.read()
	if err != nil {
		return Config{}, err
	}
	pool, err := p.configuration()
	if err != nil {
		return Config{}, err
	}
	c := &connector{source: s, first: p, last: p, bad: map[string]time.Time{}}
	pool.ConnConfig.Tracer = c
	return Config{
		Pool: pool, Sized: p.settings["pool_max_conns"] != "", Reread: func(ctx context.Context) { c.refresh(ctx) },
	}, nil
}

func (s Source) read() (*plan, error) {
	p, err := s.plan()
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, &Error{Source: s.Name, Reason: e.Reason}
	}
	return p, err
}

func (s Source) plan() (*plan, error) {
	found, text := settings{}, s.Text
	if s.File != "" {
		content, err := readFile("file", s.File)
		if err != nil {
			return nil, err
		}
		text = string(content)
	}
	if text != "" || s.File != "" {
		var err error
		if found, err = parse(text); err != nil {
			return nil, err
		}
	}
	named := found["passfile"] != ""
	if err := found.complete(s.Getenv); err != nil {
		return nil, err
	}
	if home := s.Getenv("HOME"); found["passfile"] == "" && home != "" {
		found["passfile"] = filepath.Join(home, ".pgpass")
	}
	return found.plan(named)
}

// overrules sets each parameter that pgx would otherwise take from the process's environment.
const overrules = "host=localhost port=5432 dbname='' user=nobody password=none passfile='' connect_timeout=0 sslmode=disable sslcert='' sslkey='' " +
	"sslcertmode=allow sslrootcert='' sslpassword='' sslnegotiation=postgres sslsni=1 target_session_attrs=any min_protocol_version='' " +
	"max_protocol_version='' channel_binding=prefer require_auth=''"

// handedOn are the parameters that pgx interprets as libpq does.
var handedOn = []string{
	"sslcertmode", "channel_binding", "require_auth", "krbsrvname", "krbspn", "min_protocol_version", "max_protocol_version", "target_session_attrs",
	"default_query_exec_mode", "statement_cache_capacity", "description_cache_capacity", "pool_max_conns", "pool_min_conns", "pool_min_idle_conns",
	"pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conn_idle_time", "pool_health_check_period", "pool_ping_timeout",
}

var withoutService sync.Mutex

// configuration returns a configuration that leads to the plan's hosts. Only pgx's parser can create one. It also reads the
// process's environment, in which nothing overrules PGSERVICE.
func (p *plan) configuration() (*pgxpool.Config, error) {
	var text strings.Builder
	text.WriteString(overrules)
	for _, key := range handedOn {
		if value := p.settings[key]; value != "" {
			fmt.Fprintf(&text, " %s='%s'", key, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value))
		}
	}
	withoutService.Lock()
	defer withoutService.Unlock()
	if service, ok := os.LookupEnv("PGSERVICE"); ok {
		if err := os.Unsetenv("PGSERVICE"); err != nil {
			return nil, fmt.Errorf("unset PGSERVICE: %w", err)
		}
		defer func() { _ = os.Setenv("PGSERVICE", service) }() // it was set before
	}
	pool, err := pgxpool.ParseConfig(text.String())
	if err != nil {
		return nil, fmt.Errorf("create a configuration: %w", err)
	}
	cfg := pool.ConnConfig
	cfg.RuntimeParams = p.options()
	cfg.SSLNegotiation = p.security.negotiation
	cfg.ConnectTimeout = p.timeoutOf(len(p.hosts))
	cfg.DialFunc = p.dialer().DialContext
	cfg.User, cfg.Database, cfg.Password = p.user, p.database, p.hosts[0].password
	var targets []target
	for _, h := range p.hosts {
		targets = append(targets, target{host: h})
	}
	p.aim(cfg, targets)
	return pool, nil
}

// aim makes cfg lead to targets, in each way of securing a connection that the plan allows. It returns the target of each entry.
func (p *plan) aim(cfg *pgx.ConnConfig, targets []target) (entries []target) {
	all := []*pgconn.FallbackConfig{}
	for _, t := range targets {
		ways := []*tls.Config{nil}
		if !isSocket(t.host.name) {
			ways = p.security.attempts(t.host.name)
		}
		for _, way := range ways {
			all = append(all, &pgconn.FallbackConfig{Host: t.host.dialed(), Port: t.host.port, TLSConfig: way})
			entries = append(entries, t)
		}
	}
	cfg.Host, cfg.Port, cfg.TLSConfig, cfg.Fallbacks = all[0].Host, all[0].Port, all[0].TLSConfig, all[1:]
	return entries
}

const (
	timeoutAlone     = 10 * time.Second // of the only server
	timeoutOfSeveral = 3 * time.Second  // of each of several servers
)

// timeoutOf returns how long the attempt to reach each of n servers may take.
func (p *plan) timeoutOf(n int) time.Duration {
	if n > 1 {
		return cmp.Or(p.timeout, timeoutOfSeveral)
	}
	return cmp.Or(p.timeout, timeoutAlone)
}

// host is one of the servers in an address.
type host struct {
	name      string   // a DNS name, an IP address or a directory of sockets; "" only if addresses has one
	addresses []string // from hostaddr
	port      uint16
	password  string
}

// dialed returns what is resolved and dialed.
func (h host) dialed() string {
	if h.name == "" {
		return h.addresses[0]
	}
	return h.name
}

// plan is an address and the files that it names, as they were at one moment.
type plan struct {
	hosts          []host
	user, database string
	timeout        time.Duration // 0: none was given
	random         bool          // load_balance_hosts
	peer           string        // requirepeer
	security       *security
	settings       settings
}

// plan checks complete settings and reads the files that they name.
func (s settings) plan(passfileNamed bool) (*plan, error) {
	p := &plan{settings: s, random: s["load_balance_hosts"] == "random", peer: s["requirepeer"]}
	if p.peer != "" && !peersKnown {
		return nil, wrong("cannot be used: requirepeer is not supported on this system")
	}
	p.timeout = time.Duration(p.number("connect_timeout", 0)) * time.Second
	if err := p.list(s); err != nil {
		return nil, err
	}
	var err error
	if p.security, err = s.security(); err != nil {
		return nil, err
	}
	for _, h := range p.hosts {
		if p.security.verifyName && h.name == "" {
			return nil, wrong("cannot be used: sslmode=verify-full needs host as well as hostaddr: the name to check in the certificate")
		}
	}
	p.user, p.database = s["user"], s["dbname"] // without a database, the server uses the user's name
	if u, err := user.Current(); err == nil && p.user == "" {
		p.user = u.Username
	}
	var lines passwords
	if s["password"] == "" {
		if lines, err = readPasswords(s["passfile"], passfileNamed); err != nil {
			return nil, err
		}
	}
	for i := range p.hosts {
		h := &p.hosts[i]
		h.password = cmp.Or(s["password"], lines.find(h.dialed(), strconv.Itoa(int(h.port)), cmp.Or(p.database, p.user), p.user))
	}
	return p, nil
}

// list sets the hosts.
func (p *plan) list(s settings) error {
	names, addresses, ports := strings.Split(s["host"], ","), strings.Split(s["hostaddr"], ","), strings.Split(s["port"], ",")
	n := len(names)
	if s["hostaddr"] != "" {
		if n = len(addresses); s["host"] != "" && n != len(names) {
			return wrong("cannot be used: it has %d hosts and %d in hostaddr", len(names), n)
		}
	}
	if len(ports) > 1 && len(ports) != n {
		return wrong("cannot be used: it has %d hosts and %d ports", n, len(ports))
	}
	for i := range n {
		h := host{port: defaultPort}
		if i < len(names) {
			h.name = strings.Trim(names[i], " ")
		}
		if i < len(addresses) && addresses[i] != "" {
			ip, err := netip.ParseAddr(addresses[i])
			if err != nil {
				return wrong("cannot be used: hostaddr must be an IP address")
			}
			if h.addresses = []string{ip.String()}; isSocket(h.name) {
				h.name = ""
			}
		} else if h.name == "" {
			h.name = defaultHost()
		}
		if !isHost(h.name) {
			return wrong("cannot be used: host must be a name, an IP address or a directory of sockets")
		}
		if text := strings.Trim(ports[min(i, len(ports)-1)], " "); text != "" {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil || port == 0 {
				return wrong("cannot be used: port must be a number from 1 to 65535 (percent-encode special characters of user and password)")
			}
			h.port = uint16(port)
		}
		p.hosts = append(p.hosts, h)
	}
	return nil
}

const defaultPort = 5432

// isSocket reports whether a host is a directory of sockets, or the name of an abstract one.
func isSocket(name string) bool { return strings.HasPrefix(name, "/") || strings.HasPrefix(name, "@") }

// isHost reports whether a text can be a host, so that no part of a mistyped address is sent to a resolver.
func isHost(name string) bool {
	if isSocket(name) || name == "" {
		return !strings.ContainsFunc(name, unicode.IsControl) && !strings.Contains(name[min(1, len(name)):], "@")
	}
	if strings.Contains(name, ":") {
		_, err := netip.ParseAddr(name)
		return err == nil
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// defaultHost returns the directory of sockets that exists, as libpq does.
func defaultHost() string {
	for _, dir := range []string{"/var/run/postgresql", "/private/tmp", "/tmp"} {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return "localhost"
}

// options returns the parameters that are sent to the server besides user and database.
func (p *plan) options() map[string]string {
	sent := map[string]string{"application_name": cmp.Or(p.settings["application_name"], p.settings["fallback_application_name"], "iuworker")}
	if options := p.settings["options"]; options != "" {
		sent["options"] = options
	}
	return sent
}

func (p *plan) number(key string, otherwise int) int {
	if n, err := strconv.Atoi(strings.Trim(p.settings[key], blanks)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// dialer returns a dialer whose connections notice a dead peer within about 15 s, unless the address says otherwise.
func (p *plan) dialer() *net.Dialer {
	keepalive := net.KeepAliveConfig{
		Enable:   p.settings["keepalives"] != "0",
		Idle:     time.Duration(p.number("keepalives_idle", 5)) * time.Second,
		Interval: time.Duration(p.number("keepalives_interval", 3)) * time.Second,
		Count:    p.number("keepalives_count", 3),
	}
	dialer := &net.Dialer{KeepAliveConfig: keepalive}
	if !keepalive.Enable {
		dialer.KeepAlive = -1
	}
	if limit := p.number("tcp_user_timeout", 0); limit > 0 {
		dialer.Control = userTimeout(limit)
	}
	return dialer
}

func (h host) String() string {
	if isSocket(h.name) {
		return fmt.Sprintf("%s/.s.PGSQL.%d", h.name, h.port)
	}
	return net.JoinHostPort(h.dialed(), strconv.Itoa(int(h.port)))
}
