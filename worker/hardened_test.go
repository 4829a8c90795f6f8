package worker_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// A worker needs only its role to compose and announce in a hardened database: PUBLIC has no privileges, the login that
// migrated is not a superuser, and an event trigger switches row security on for each new table.
func TestWorkerInAHardenedDatabase(t *testing.T) {
	t.Parallel()
	iutest.New(t) // creates the roles, which belong to the server
	db := iutest.Empty(t)
	owner, login := db.Name+"_owner", db.Name+"_composing"
	db.Exec(t, `
		CREATE ROLE `+owner+` LOGIN; CREATE ROLE `+login+` LOGIN; GRANT iu_worker TO `+login+`;
		REVOKE ALL ON DATABASE `+db.Name+` FROM PUBLIC; GRANT CONNECT ON DATABASE `+db.Name+` TO `+login+`;
		GRANT CONNECT, CREATE ON DATABASE `+db.Name+` TO `+owner+`;
		REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT ALL ON SCHEMA public TO `+owner+` WITH GRANT OPTION;
		ALTER DEFAULT PRIVILEGES FOR ROLE `+owner+` REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
		ALTER DEFAULT PRIVILEGES FOR ROLE `+owner+` REVOKE USAGE ON TYPES FROM PUBLIC;
		CREATE FUNCTION public.secure() RETURNS event_trigger LANGUAGE plpgsql AS $$
		DECLARE v_table record;
		BEGIN
			FOR v_table IN SELECT d.objid::regclass AS name FROM pg_event_trigger_ddl_commands() AS d WHERE d.object_type = 'table' LOOP
				EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table.name);
			END LOOP;
		END $$;
		GRANT EXECUTE ON FUNCTION public.secure() TO `+owner+`;
		CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.secure()`)
	t.Cleanup(func() {
		db.Exec(t, "DROP OWNED BY "+owner+", "+login+" CASCADE; DROP ROLE "+owner+", "+login)
	})
	conn, err := pgx.ParseConfig(db.URLAs(owner))
	require.NoError(t, err)
	_, err = iusql.Up(t.Context(), iusql.Config{ConnConfig: conn})
	require.NoError(t, err)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)

	pool, err := pgxpool.New(context.WithoutCancel(t.Context()), db.URLAs(login))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	client := listen(t, db)
	start(t, db, func(c *worker.Config) { c.Pool = pool })
	id := insert(t, db, template, "order-1")
	require.Contains(t, nextEvent(t, client), id.String())
}
