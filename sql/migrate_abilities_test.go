package iusql_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// own returns an empty database on a server of the test's own, and a login that may migrate it and is no superuser.
func own(t *testing.T) (db *iutest.DB, url string) {
	t.Helper()
	db, _ = iutest.Own(t)
	_, err := iusql.Down(t.Context(), config(t, db.URL), 32)
	require.NoError(t, err)
	db.Exec(t, `
		DROP SCHEMA public CASCADE; DROP SCHEMA iu_migration CASCADE; CREATE SCHEMA public;
		CREATE ROLE migrator; GRANT iu_app, iu_worker, iu_operator, iu_subscriber TO migrator;
		ALTER DATABASE `+db.Name+` OWNER TO migrator; ALTER SCHEMA public OWNER TO migrator`)
	url = db.URLAs("migrator")
	return db, url
}

// Up checks what it cannot do without before the first change.
func TestUpAsksWhatTheServerCanDo(t *testing.T) {
	t.Parallel()
	db, url := own(t)
	for function, says := range map[string]string{
		"md5(text)":                      "an idempotency key is an md5 by contract",
		"sha256(bytea)":                  "sha256() does not work here",
		"hashtextextended(text, bigint)": "functions that create keys do not work here",
		"pg_try_advisory_xact_lock(integer, integer)": "advisory locks do not work here",
		"pg_notify(text, text)":                       "NOTIFY does not work here",
		"jsonb_typeof(jsonb)":                         "EXECUTE on function pg_catalog.jsonb_typeof(jsonb)",
	} {
		db.Exec(t, "REVOKE EXECUTE ON FUNCTION pg_catalog."+function+" FROM PUBLIC")
		_, err := iusql.Up(t.Context(), config(t, url))
		require.ErrorContains(t, err, says, function)
		require.ErrorContains(t, err, "nothing was changed")
		require.Empty(t, rows(t, db, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'iu\\_%'"), function)
		db.Exec(t, "GRANT EXECUTE ON FUNCTION pg_catalog."+function+" TO PUBLIC")
	}
	_, err := iusql.Up(t.Context(), config(t, url))
	require.NoError(t, err)
}

// Up works on a service that does not reveal its server's identity, its timeline and the usage of its queue.
func TestUpDoesWithoutWhatItCan(t *testing.T) {
	t.Parallel()
	db, url := own(t)
	db.Exec(t, `
		REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC;
		REVOKE EXECUTE ON FUNCTION pg_catalog.pg_current_wal_lsn() FROM PUBLIC;
		REVOKE EXECUTE ON FUNCTION pg_catalog.pg_notification_queue_usage() FROM PUBLIC`)
	var log bytes.Buffer
	cfg := config(t, url)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	_, err := iusql.Up(t.Context(), cfg)
	require.NoError(t, err)
	for _, what := range []string{"which timeline it is on", "pg_control_system() does not work here", "pg_notification_queue_usage() does not"} {
		require.Contains(t, log.String(), what)
	}
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	compose := func() {
		db.Exec(t, "SELECT public.fn_iu_auto_instantiate_from_event($1, 'e', $2, $3, 'live', 'a')", uuid.New(), template, uuid.NewString())
		require.Equal(t, []string{"emitted"}, rows(t, db, "SELECT state FROM iu_outbox.emit(10)"))
	}
	compose()
	compose()
	require.Equal(t, []string{"1 true true"}, rows(t, db, `
		SELECT count(*) || ' ' || bool_and(system_identifier IS NULL) || ' ' || bool_and(timeline IS NULL) FROM iu_outbox.epoch`))

	// Details that become known later do not begin a new epoch.
	db.Exec(t, `
		GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO PUBLIC;
		GRANT EXECUTE ON FUNCTION pg_catalog.pg_current_wal_lsn() TO PUBLIC`)
	compose()
	require.Equal(t, []string{"1 true"}, rows(t, db, "SELECT count(*) || ' ' || bool_and(timeline = 1) FROM iu_outbox.epoch"))
	db.Exec(t, "UPDATE iu_outbox.epoch SET timeline = 7")
	compose()
	require.Equal(t, []string{"2"}, rows(t, db, "SELECT count(*)::text FROM iu_outbox.epoch"))
}

// Up works in encodings that PostgreSQL converts to UTF-8, and refuses others by name.
func TestUpOnOtherEncodings(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "WIN1252", "EUC_JP"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			db := iutest.Encoded(t, encoding)
			up(t, db)
			db.Exec(t, "ALTER DATABASE "+db.Name+" SET client_encoding = 'UTF8'") // the test's connections speak UTF-8 only
			db.Pool.Reset()
			db.OpenGates(t)
			const text = "\u00d7" // exists in all of them
			template := db.Template(t, "t"+text, 2)
			db.Exec(t, `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor, note)
				VALUES ($1, $2, $1, $1, $1)`, text, template)
			db.Exec(t, `SELECT public.fn_iu_auto_instantiate_from_event(e.event_id, e.event_type, e.template_collection_id,
				e.instance_key_suffix, e.emit_mode, e.actor, e.note) FROM iu_outbox.claim(10) AS e`)
			require.Equal(t, []string{"emitted"}, rows(t, db, "SELECT state FROM iu_outbox.emit(10)"))
			require.Equal(t, []string{"tpl-inst:auto:" + text}, rows(t, db, "SELECT event ->> 'subject' FROM iu_outbox.emission"))
			_, err := iusql.Down(t.Context(), iusql.Config{ConnConfig: config(t, db.URL).ConnConfig, Force: true}, 32)
			require.NoError(t, err)
		})
	}
	db := iutest.Encoded(t, "SQL_ASCII")
	_, err := iusql.Up(t.Context(), config(t, db.URL))
	require.ErrorIs(t, err, iusql.ErrServer)
	require.ErrorContains(t, err, "the encoding of the database is SQL_ASCII, which PostgreSQL cannot convert to UTF-8")
	db = iutest.Encoded(t, "MULE_INTERNAL")
	_, err = iusql.Up(t.Context(), config(t, db.URL))
	require.ErrorContains(t, err, "MULE_INTERNAL")
}
