package iutest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	iusql "github.com/iu-core/iuworker/sql"
)

const templateName = "iutest_template"

// New makes a database with everything that iuworker migrates, a copy of the template. Gates are closed, as they
// ship.
func New(t testing.TB) *DB {
	t.Helper()
	require.NoError(t, cluster.template(), "make the template database")
	return create(t, templateName)
}

// template makes the template where nobody has.
func (c *testCluster) template() error {
	c.migrating.Do(func() { c.migrateErr = c.migrateTemplate() })
	return c.migrateErr
}

func (c *testCluster) migrateTemplate() error {
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
