package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/doctor"
)

// The program works under settings that could break it, from the migration of an empty database to the removal of the schema.
func TestHostileSettings(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	const readOnly = "default_transaction_read_only" // migrate up refuses a database with this setting, and names it
	db.MakeHostile(t, readOnly)
	require.Equal(t, exitDone, run(t, on(db), "migrate", "up").code)
	db.MakeHostile(t, "plpgsql.variable_conflict")
	for _, gate := range []string{"composer", "auto-instantiate"} {
		require.Equal(t, exitDone, run(t, on(db), "gate", "open", gate).code)
	}
	db.Template(t, "letter", 2)
	pages, log, stop := working(t, db)
	awaitStatus(t, pages+"readyz", http.StatusOK)
	awaitStatus(t, pages, http.StatusOK)

	// An application has the same settings, except those that prevent writing.
	cfg, err := pgx.ParseConfig(db.URL)
	require.NoError(t, err)
	cfg.RuntimeParams["statement_timeout"], cfg.RuntimeParams[readOnly], cfg.RuntimeParams["idle_session_timeout"] = "0", "off", "0"
	if db.Version(t) >= 17 {
		cfg.RuntimeParams["transaction_timeout"] = "0"
	}
	application, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { _ = application.Close(t.Context()) }()
	var event, key string
	require.NoError(t, application.QueryRow(t.Context(), `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, actor, note)
		SELECT 'order.paid', t.id, 'ümläut', 'ann', 'it''s' FROM iu_outbox.template AS t RETURNING event_id::text, idempotency_key`).Scan(&event, &key))
	run(t, on(db), "enqueue", "--template", "letter", "--suffix", "one", "--actor", "ann").done(t)
	run(t, on(db), "scaleout", "--template", "letter", "--count", "20", "--prefix", "many", "--actor", "bulk").done(t)
	db.WaitFor(t, patience, "SELECT count(*) = 22 FROM iu_outbox.emission WHERE position IS NOT NULL")
	var right bool
	require.NoError(t, application.QueryRow(t.Context(), `
		SELECT s.state = 'done' AND s.idempotency_key = $2 FROM iu_outbox.event_state($1) AS s`, event, key).Scan(&right))
	require.True(t, right)

	received := run(t, on(db), "subscribe", "--after", "0", "--limit", "22").done(t).out
	require.Equal(t, 22, strings.Count(received, "\n"))
	require.Contains(t, received, "tpl-inst:auto:ümläut")
	require.Equal(t, 22, strings.Count(run(t, on(db), "subscribe", "--consumer", "shop", "--limit", "22").done(t).out, "\n"))
	run(t, on(db), "rollback", "--actor", "ann", "--execute", "--expect", "2").done(t)
	for _, command := range []string{"status", "verify", "conformance", "selftest"} {
		r := run(t, on(db), command)
		require.Equal(t, exitDone, r.code, "%s: %s%s", command, r.out, r.errOut)
	}
	for _, check := range decode[doctor.Report](t, examine(t, on(db), "--json")).Checks {
		if check.Name == "settings" { // it warns of settings that affect applications, whose sessions we do not set up
			require.Equal(t, operate.HealthFail, check.Result)
			continue
		}
		require.NotEqual(t, operate.HealthFail, check.Result, "%+v", check)
	}
	require.Contains(t, run(t, on(db), "trace", event).done(t).out, "rolled_back")
	require.Equal(t, exitDone, stop(), log.String())
	require.NotContains(t, log.String(), `"level":"ERROR"`)
	require.NotContains(t, log.String(), "FATAL: ", "no session was ended by a setting")
}
