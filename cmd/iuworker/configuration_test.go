package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// With a wrong configuration the program exits with 2, so that a supervisor does not restart it. The log ends with the failure.
func TestAWrongConfigurationExits2(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, taken.Close()) })
	for says, args := range map[string]string{
		"the port is taken":                         "--http-addr " + taken.Addr().String(),
		"cannot listen on " + taken.Addr().String(): "--http-addr off --metrics-addr " + taken.Addr().String(),
		"without credentials":                       "--http-addr 0.0.0.0:0",
		"no such file":                              "--http-credentials-file /nowhere/users",
		"/nowhere/tokens":                           "--events-token-file /nowhere/tokens",
		"/nowhere/url":                              "--direct-database-url-file /nowhere/url",
		"otlp-endpoint":                             "--otlp-endpoint nonsense",
	} {
		r := run(t, on(db), append([]string{"work"}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, r.code, "%s: %s", args, r.errOut)
		require.Contains(t, r.errOut, says, args)
		r.oneSentence(t)
	}
}

// If the log is JSON, the failure is logged as JSON before its sentence is printed.
func TestAFailureAmidALogIsLogged(t *testing.T) {
	t.Parallel()
	r := run(t, on(iutest.Empty(t)), "work", "--http-addr", "127.0.0.1:0")
	require.Equal(t, exitFailed, r.code)
	lines := strings.Split(strings.TrimSpace(r.errOut), "\n")
	require.GreaterOrEqual(t, len(lines), 3, "it listened before")
	var logged struct{ Level, Msg, Error string }
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-2]), &logged), r.errOut)
	require.Equal(t, "ERROR", logged.Level)
	require.Equal(t, "iuworker: "+logged.Error, lines[len(lines)-1])
}

func TestWorkMigratesIfTold(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	without := run(t, on(db), "work", "--http-addr", "off")
	require.Equal(t, exitFailed, without.code)
	require.Contains(t, without.errOut, "run: iuworker migrate up")
	_, _, stop := working(t, db, "--migrate")
	require.Contains(t, run(t, on(db), "migrate", "status").done(t).out, "shared database")
	require.Equal(t, exitDone, stop())
}

func TestDeniedNamesUserRoleAndGrant(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	shop := environment{"IUWORKER_DATABASE_URL": db.URLAs("iu_app")}
	run(t, shop, "gate", "status").failed(t, exitFailed,
		`user "iu_app" may not run "iuworker gate status" (permission denied for function gate_status); it needs the role iu_operator; `+
			`as an administrator, run: GRANT iu_operator TO "iu_app"`)
}

// The cursor of a consumer is stored once for each batch that was printed, not for each line.
func TestSubscribeStoresItsCursorOnceABatch(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Exec(t, `SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, 'n-' || n, 'live', 'ann') FROM generate_series(1, 250) AS n`,
		db.Template(t, "letter", 1))
	db.Exec(t, "SELECT iu_outbox.emit(1000)")
	db.Exec(t, `
		CREATE TABLE moves (position bigint);
		CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
			'BEGIN INSERT INTO public.moves VALUES (NEW.position); RETURN NULL; END';
		CREATE TRIGGER note_move AFTER UPDATE OF position ON iu_outbox.consumer FOR EACH ROW
			WHEN (OLD.position <> NEW.position) EXECUTE FUNCTION note_move()`)
	r := run(t, on(db), "subscribe", "--consumer", "mail", "--limit", "250").done(t)
	require.Equal(t, 250, strings.Count(r.out, "\n"))
	var moves, last int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*), max(position) FROM moves").Scan(&moves, &last))
	require.Equal(t, []int{3, 250}, []int{moves, last}, "batches of a hundred")
}

func TestAGateSaysWhatItReleases(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Template(t, "letter", 1)
	scaleOut(t, db, "3").done(t)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'scheduled', metadata = '{"parked": {"gate": "composer"}}'`)
	require.Equal(t, "opened composer (by ann); 3 parked jobs will run now\n",
		run(t, on(db), "gate", "open", "composer", "--actor", "ann").done(t).out)
	require.Equal(t, "closed composer (by ann)\n", run(t, on(db), "gate", "close", "composer", "--actor", "ann").done(t).out)
}
