package address

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Source is where an address comes from.
type Source struct {
	Name   string              // what errors call it, such as --database-url
	Text   string              // the address; "" means PG* alone
	File   string              // a file that holds the address instead of Text, and is read again for each new connection
	Getenv func(string) string // gives PG* and HOME; required
	Logger *slog.Logger        // logs a file that broke since it was last read; required
}

// Config is a configuration of pgx.
type Config struct {
	Pool  *pgxpool.Config
	Sized bool // the address itself says how large the pool is

	// Reread reads the source now, so that the log names an error in it. The next connection reads it anyway.
	Reread func(ctx context.Context)
}

// Config reads the address and all files that it names, without connecting. Connections that are made with the pool's
// ConnConfig or a copy of it read them again. Its errors are of the type *Error.
func (s Source) Config() (Config, error) {
	p, err := s.read()
	if err != nil {
		return Config{}, err
	}
	pool, err := empty()
	if err != nil {
		return Config{}, err
	}
	c := &connector{source: s, first: p, last: p, bad: map[string]time.Time{}}
	p.configure(pool)
	cfg := pool.ConnConfig
	p.lead(cfg)
	cfg.DialFunc = p.dialer().DialContext
	cfg.Tracer = c
	return Config{
		Pool: pool, Sized: p.settings["pool_max_conns"] != "", Reread: func(ctx context.Context) { c.refresh(ctx) },
	}, nil
}

const maxFile = 1 << 20 // bytes of a file that holds an address

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
		var err error
		if text, err = readFile(s.File); err != nil {
			return nil, err
		}
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

func readFile(path string) (string, error) {
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return "", fileError("file", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return "", fileError("file", err)
	}
	return string(text), nil
}

var withoutService sync.Mutex

// empty returns a configuration that nothing was read into. pgx makes them by parsing alone, which reads the process's
// environment as well: each variable is overruled here but PGSERVICE, which cannot be.
func empty() (*pgxpool.Config, error) {
	withoutService.Lock()
	defer withoutService.Unlock()
	if service, ok := os.LookupEnv("PGSERVICE"); ok {
		if err := os.Unsetenv("PGSERVICE"); err != nil {
			return nil, fmt.Errorf("unset PGSERVICE: %w", err)
		}
		defer func() { _ = os.Setenv("PGSERVICE", service) }() // it was set before
	}
	cfg, err := pgxpool.ParseConfig("host=localhost port=5432 dbname='' user=nobody password=none passfile='' connect_timeout=0 sslmode=disable " +
		"sslcert='' sslkey='' sslcertmode=allow sslrootcert='' sslpassword='' sslnegotiation=postgres sslsni=1 target_session_attrs=any " +
		"min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=prefer require_auth=''")
	if err != nil {
		return nil, fmt.Errorf("make a configuration: %w", err)
	}
	cfg.ConnConfig.RuntimeParams = map[string]string{}
	return cfg, nil
}

var execModes = map[string]pgx.QueryExecMode{
	"cache_statement": pgx.QueryExecModeCacheStatement, "cache_describe": pgx.QueryExecModeCacheDescribe,
	"describe_exec": pgx.QueryExecModeDescribeExec, "exec": pgx.QueryExecModeExec, "simple_protocol": pgx.QueryExecModeSimpleProtocol,
}

// attributes are what target_session_attrs may ask for.
var attributes = map[string]pgconn.ValidateConnectFunc{
	"read-write": pgconn.ValidateConnectTargetSessionAttrsReadWrite, "read-only": pgconn.ValidateConnectTargetSessionAttrsReadOnly,
	"primary": pgconn.ValidateConnectTargetSessionAttrsPrimary, "standby": pgconn.ValidateConnectTargetSessionAttrsStandby,
	"prefer-standby": pgconn.ValidateConnectTargetSessionAttrsPreferStandby,
}

// configure sets what stays as it is for the life of a process.
func (p *plan) configure(pool *pgxpool.Config) {
	s, cfg := p.settings, pool.ConnConfig
	cfg.RuntimeParams = p.options()
	cfg.SSLNegotiation = p.security.negotiation
	cfg.SSLCertMode = first(s["sslcertmode"], "allow")
	cfg.ChannelBinding, cfg.RequireAuth = first(s["channel_binding"], "prefer"), s["require_auth"]
	cfg.KerberosSrvName, cfg.KerberosSpn = s["krbsrvname"], s["krbspn"]
	cfg.MinProtocolVersion = first(s["min_protocol_version"], "3.0")
	cfg.MaxProtocolVersion = s["max_protocol_version"]
	if cfg.MaxProtocolVersion == "" {
		cfg.MaxProtocolVersion = cfg.MinProtocolVersion
	}
	cfg.ValidateConnect = attributes[s["target_session_attrs"]]
	cfg.ConnectTimeout = p.timeoutOf(len(p.hosts))
	if mode := s["default_query_exec_mode"]; mode != "" {
		cfg.DefaultQueryExecMode = execModes[mode]
	}
	set := func(key string, to func(n int)) {
		if n, err := strconv.Atoi(s[key]); err == nil {
			to(n)
		}
	}
	set("statement_cache_capacity", func(n int) { cfg.StatementCacheCapacity = n })
	set("description_cache_capacity", func(n int) { cfg.DescriptionCacheCapacity = n })
	set("pool_max_conns", func(n int) { pool.MaxConns = int32(n) })          //nolint:gosec // check has a bound
	set("pool_min_conns", func(n int) { pool.MinConns = int32(n) })          //nolint:gosec // check has a bound
	set("pool_min_idle_conns", func(n int) { pool.MinIdleConns = int32(n) }) //nolint:gosec // check has a bound
	for key, to := range map[string]*time.Duration{
		"pool_max_conn_lifetime": &pool.MaxConnLifetime, "pool_max_conn_lifetime_jitter": &pool.MaxConnLifetimeJitter,
		"pool_max_conn_idle_time": &pool.MaxConnIdleTime, "pool_health_check_period": &pool.HealthCheckPeriod,
		"pool_ping_timeout": &pool.PingTimeout,
	} {
		if length, err := time.ParseDuration(s[key]); err == nil {
			*to = length
		}
	}
}

// lead makes cfg lead to the plan's hosts, in their order.
func (p *plan) lead(cfg *pgx.ConnConfig) {
	targets := make([]target, 0, len(p.hosts))
	for _, h := range p.hosts {
		targets = append(targets, target{host: h})
	}
	cfg.User, cfg.Database, cfg.Password = p.user, p.database, p.hosts[0].password
	p.aim(cfg, targets)
}

// aim makes cfg lead to targets, with each way to secure a connection that the plan allows.
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
	timeoutOfSeveral = 3 * time.Second  // of each server, so that the next gets its turn
)

// timeoutOf returns how long the attempt to reach each of n servers may take.
func (p *plan) timeoutOf(n int) time.Duration {
	switch {
	case p.timeout > 0:
		return p.timeout
	case n > 1:
		return timeoutOfSeveral
	default:
		return timeoutAlone
	}
}
