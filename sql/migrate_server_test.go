package iusql_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

func TestUpRefusesReadOnlyDatabases(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "ALTER DATABASE "+db.Name+" SET default_transaction_read_only = on")
	_, err := iusql.Up(t.Context(), config(t, db.URL))
	require.ErrorIs(t, err, iusql.ErrServer)
	require.ErrorContains(t, err, "default_transaction_read_only is on here")
}

func TestUpRefusesStandbys(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.Exec(t, "UPDATE iu_outbox.schema_info SET functions_hash = ''") // there is something to do
	signal := filepath.Join(rows(t, db, "SHOW data_directory")[0], "standby.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o644)) // the server may run as another user
	require.NoError(t, server.Restart(t.Context()))

	_, err := iusql.Up(t.Context(), config(t, db.URL))
	require.ErrorIs(t, err, iusql.ErrServer)
	require.ErrorContains(t, err, "the server is a standby, give the address of the primary")
	require.NoError(t, os.Remove(signal))
	require.NoError(t, server.Restart(t.Context()))
	up(t, db)
}

func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-of-mine"
	cfg := config(t, "postgres://nobody:"+secret+"@127.0.0.1:1/nowhere?connect_timeout=2")
	_, upErr := iusql.Up(t.Context(), cfg)
	_, downErr := iusql.Down(t.Context(), cfg, 32)
	_, statusErr := iusql.Status(t.Context(), cfg)
	for _, err := range []error{upErr, downErr, statusErr} {
		require.ErrorContains(t, err, "127.0.0.1")
		require.NotContains(t, err.Error(), secret)
	}
}

func TestUpNeedsAnAddress(t *testing.T) {
	t.Parallel()
	_, err := iusql.Up(t.Context(), iusql.Config{})
	require.ErrorIs(t, err, iusql.ErrUsage)
}

// The settings of a role or database do not disturb a migration.
func TestUpUnderOtherSettings(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	for _, setting := range []string{
		"statement_timeout = '1ms'", "search_path = 'nowhere'", "default_transaction_isolation = 'serializable'",
		"standard_conforming_strings = off", "DateStyle = 'German'", "client_min_messages = error",
	} {
		db.Exec(t, "ALTER DATABASE "+db.Name+" SET "+setting)
	}
	up(t, db)
	for _, name := range []string{
		"statement_timeout", "search_path", "default_transaction_isolation", "standard_conforming_strings", "DateStyle", "client_min_messages",
	} {
		conn, err := pgx.Connect(t.Context(), db.URL+"&statement_timeout=0")
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "ALTER DATABASE "+db.Name+" RESET "+name)
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
	sameDump(t, dump(t, iutest.New(t)), dump(t, db))
}

// A transaction of a migration takes as long as it takes, whatever limit the database or the address sets.
func TestUpUnderTransactionTimeouts(t *testing.T) {
	t.Parallel()
	iutest.Empty(t).Since(t, 17)
	for name, test := range map[string]struct{ setting, address string }{
		"of the database": {setting: "transaction_timeout = '200ms'"},
		"of the address":  {address: "&transaction_timeout=200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.Empty(t)
			db.Exec(t, `
				CREATE SCHEMA slow;
				CREATE FUNCTION slow.down() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.5); END';
				CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION slow.down()`)
			if test.setting != "" {
				db.Exec(t, "ALTER DATABASE "+db.Name+" SET "+test.setting)
			}
			_, err := iusql.Up(t.Context(), config(t, db.URL+test.address))
			require.NoError(t, err)
			db.Exec(t, "ALTER DATABASE "+db.Name+" RESET transaction_timeout")
		})
	}
}
