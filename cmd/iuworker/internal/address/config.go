package address

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

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
