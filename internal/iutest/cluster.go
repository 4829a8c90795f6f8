package iutest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/pgserver"
)

const (
	adminTimeout = time.Minute // for one statement of ours, on a busy machine
	retryPause   = 20 * time.Millisecond
)

// shared is this process's server; it starts when the first test asks for it.
var shared = newCluster("")

// cluster is a server and its template database, each made when it is first needed.
type cluster struct {
	start    func() error // starts the server, once
	template func() error // makes the template database, once
	binDir   string       // "": pgserver finds one
	server   *pgserver.Server
	admin    *pgxpool.Pool

	copying sync.Mutex // CREATE DATABASE: two at once only wait for each other's reads of the template
	roles   sync.Mutex // ALTER ROLE: two at once fail with "tuple concurrently updated"
}

func newCluster(binDir string) *cluster {
	c := &cluster{binDir: binDir}
	c.start = sync.OnceValue(c.startServer)
	c.template = sync.OnceValue(c.migrateTemplate)
	return c
}

// settings are those of test servers: fast, and roomy enough for many tests at once.
var settings = map[string]string{
	"fsync":                     "off",
	"full_page_writes":          "off",
	"max_connections":           "300",
	"max_prepared_transactions": "10",
	"shared_buffers":            "64MB",
	"max_wal_size":              "4GB",
	"jit":                       "off",
}

func (c *cluster) startServer() error {
	server, err := pgserver.Start(context.Background(), pgserver.Config{
		BinDir:   c.binDir,
		TCP:      true,
		Settings: settings,
	})
	if err != nil {
		return err
	}
	c.server = server
	c.admin, err = pgxpool.New(context.Background(), server.URL("postgres"))
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

// exec runs a statement of the superuser, again while somebody uses what it needs alone.
func (c *cluster) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	pause := time.NewTicker(retryPause)
	defer pause.Stop()
	for {
		_, err := c.admin.Exec(ctx, sql)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != pgerrcode.ObjectInUse {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%w, for %s", err, adminTimeout)
		}
	}
}

// create makes a database out of a template, an empty name being PostgreSQL's own. Copying files takes half the time
// of the default, copying through the WAL.
func (c *cluster) create(name, template string, options ...string) error {
	statement := strings.Join(append([]string{"CREATE DATABASE " + quote(name) + " STRATEGY file_copy"}, options...), " ")
	if template != "" {
		statement += " TEMPLATE " + quote(template)
	}
	c.copying.Lock()
	defer c.copying.Unlock()
	return c.exec(statement)
}

// drop drops a database, and ends the sessions in it.
func (c *cluster) drop(name string) error {
	return c.exec("DROP DATABASE IF EXISTS " + quote(name) + " WITH (FORCE)")
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
