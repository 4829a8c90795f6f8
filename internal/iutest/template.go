package iutest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/pgserver"
	iusql "github.com/iu-core/iuworker/sql"
)

const templateName = "iutest_template"

// New makes a database with everything that iuworker migrates, a copy of the template. Gates are closed, as they
// ship.
func New(t testing.TB) *DB {
	t.Helper()
	return shared.migrated(t)
}

// Own makes a database like New's on a server of its own, for a test that restarts or kills the server. Both end
// with the test.
func Own(t testing.TB) (*DB, *pgserver.Server) {
	t.Helper()
	own := newCluster("")
	t.Cleanup(func() { require.NoError(t, own.stop(), "end the test's own server") })
	db := own.migrated(t)
	return db, own.server
}

func (c *cluster) migrated(t testing.TB) *DB {
	t.Helper()
	require.NoError(t, c.template(), "make the template database")
	return c.database(t, templateName)
}

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
	_, err = iusql.Up(context.Background(), iusql.Config{ConnConfig: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	// Copies fail while anybody is connected to the template.
	return c.exec("ALTER DATABASE " + quote(templateName) + " ALLOW_CONNECTIONS false")
}
