package iutest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/pgserver"
	iusql "github.com/iu-core/iuworker/sql"
)

const (
	adminTimeout = time.Minute // for one administrative statement on a busy machine
	templateName = "iutest_template"
)

// shared is the server of this process.
var shared = newCluster(pgserver.Config{})

// cluster is a server and its template database, which are created when they are first needed.
type cluster struct {
	start    func() error // starts the server, once
	template func() error // makes the template database, once
	cfg      pgserver.Config
	server   *pgserver.Server
	admin    *pgxpool.Pool

	copying sync.Mutex // CREATE DATABASE: concurrent ones would only wait for each other
	roles   sync.Mutex // ALTER ROLE: concurrent ones fail with "tuple concurrently updated"
}

// newCluster returns a cluster that listens on TCP, with settings that suit tests.
func newCluster(cfg pgserver.Config) *cluster {
	cfg.TCP = true
	cfg.Settings = map[string]string{
		"fsync":                     "off",
		"full_page_writes":          "off",
		"max_connections":           "300",
		"max_prepared_transactions": "10",
		"shared_buffers":            "64MB",
		"max_wal_size":              "512MB",
		"jit":                       "off",
	}
	c := &cluster{cfg: cfg}
	c.start = sync.OnceValue(c.startServer)
	c.template = sync.OnceValue(c.migrateTemplate)
	return c
}

// ownCluster returns a cluster that stops when the test ends.
func ownCluster(t testing.TB, cfg pgserver.Config) *cluster {
	t.Helper()
	Heavy(t)
	own := newCluster(cfg)
	t.Cleanup(func() { require.NoError(t, own.stop(), "stop the test's own server") })
	return own
}

func (c *cluster) startServer() (err error) {
	if c.server, err = pgserver.Start(context.Background(), c.cfg); err != nil {
		return err
	}
	c.admin, err = pgxpool.New(context.Background(), c.server.URL("postgres"))
	return err
}

func (c *cluster) stop() error {
	if c.admin != nil {
		c.admin.Close()
	}
	if c.server == nil {
		return nil
	}
	return c.server.Stop()
}

// exec runs a statement as superuser, and retries it while another session uses its object.
func (c *cluster) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		_, err := c.admin.Exec(ctx, sql) // fails with another error when ctx ends
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != pgerrcode.ObjectInUse {
			return err
		}
		<-pause.C
	}
}

// create creates a database from a template; "" means PostgreSQL's default. Copying files takes half as long as the default,
// which copies through the WAL.
func (c *cluster) create(name, template string, options ...string) error {
	if template != "" {
		options = append(options, "TEMPLATE "+quote(template))
	}
	c.copying.Lock()
	defer c.copying.Unlock()
	return c.exec("CREATE DATABASE " + quote(name) + " STRATEGY file_copy " + strings.Join(options, " "))
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (c *cluster) migrateTemplate() error {
	if err := c.start(); err != nil {
		return err
	}
	if err := c.create(templateName, ""); err != nil {
		return err
	}
	config, err := pgx.ParseConfig(c.server.URL(templateName))
	if err != nil {
		return err
	}
	if _, err = iusql.Up(context.Background(), iusql.Config{ConnConfig: config, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	// A database with sessions cannot be copied.
	return c.exec("ALTER DATABASE " + quote(templateName) + " ALLOW_CONNECTIONS false")
}
