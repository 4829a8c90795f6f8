package iusql_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
	iusql "github.com/iu-core/iuworker/sql"
)

// oldest is where Debian has the oldest PostgreSQL that we support.
const oldest = "/usr/lib/postgresql/15/bin"

// pg_upgrade carries a database of ours from the oldest supported PostgreSQL to the newest, with all that is in it.
func TestUpgradeOfPostgres(t *testing.T) {
	t.Parallel()
	iutest.Empty(t).Since(t, 18)
	if _, err := os.Stat(filepath.Join(oldest, "postgres")); errors.Is(err, os.ErrNotExist) {
		t.Skipf("PostgreSQL 15 is not installed in %s", oldest)
	}
	program, err := exec.LookPath("pg_upgrade")
	require.NoError(t, err, "run make test PG=18")
	program, err = filepath.EvalSymlinks(program)
	require.NoError(t, err)
	newest := filepath.Dir(program) // pg_upgrade and the server must be of one version

	dir := iutest.OpenDir(t)
	from, to := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	server := startIn(t, oldest, from)
	conn := connectTo(t, server)
	_, err = iusql.Up(t.Context(), config(t, server.URL("postgres")))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `
		UPDATE public.dot_config SET value = 'true' WHERE key IN ('iu_core.composer_enabled', 'iu_core.auto_instantiate_enabled');
		INSERT INTO public.iu_piece (piece_key, body, created_by) VALUES ('piece', '{"text": "ü"}', 'ann');
		SELECT public.fn_iu_collection_mark_template((public.fn_iu_compose('letter', 'Letter', ARRAY(SELECT id FROM public.iu_piece), 'ann')
			->> 'collection_id')::uuid, 'ann');
		SELECT iu_outbox.add_event(template => 'letter', event_type => 'order.placed', suffix => 'waits')`)
	require.NoError(t, err)
	before := dumpOf(t, server)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, server.Stop())

	initdb := asOwner(t, from, dir, filepath.Join(newest, "initdb"), "-D", to, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
		"--no-data-checksums", "--no-sync")
	out, err := initdb.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = asOwner(t, from, dir, program, "--old-bindir", oldest, "--new-bindir", newest, "--old-datadir", from, "--new-datadir", to,
		"--username", "postgres", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)

	server = startIn(t, newest, to)
	pool, err := pgxpool.New(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	defer pool.Close()
	sameDump(t, before, dumpOf(t, server))
	require.NoError(t, iusql.CheckSchema(t.Context(), pool))
	result, err := iusql.Up(t.Context(), config(t, server.URL("postgres")))
	require.NoError(t, err)
	require.Empty(t, result.Versions)
	var state string
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT s.state FROM iu_outbox.event AS e CROSS JOIN LATERAL iu_outbox.event_state(e.event_id) AS s`).Scan(&state))
	require.Equal(t, "waiting", state)
}

// startIn starts a server of some binaries on a data directory. It stops with the test at the latest.
func startIn(t *testing.T, binaries, data string) *pgserver.Server {
	t.Helper()
	server, err := pgserver.Start(t.Context(), pgserver.Config{BinDir: binaries, DataDir: data, Settings: map[string]string{"fsync": "off"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func connectTo(t *testing.T, server *pgserver.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	return conn
}

// asOwner returns a command that runs in dir as the owner of a data directory: pg_upgrade does not run as root.
func asOwner(t *testing.T, data, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	info, err := os.Stat(data)
	require.NoError(t, err)
	owner, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	if os.Geteuid() == 0 {
		require.NoError(t, os.Lchown(dir, int(owner.Uid), int(owner.Gid)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	return cmd
}

// dumpOf returns the rows of a server's database. Versions of PostgreSQL write the schema in different ways.
func dumpOf(t *testing.T, server *pgserver.Server) string {
	t.Helper()
	rows := dump(t, &iutest.DB{URL: server.URL("postgres")}, "--data-only", "--inserts")
	return regexp.MustCompile(`(?m)^-- Dumped from .*\n`).ReplaceAllString(rows, "")
}
