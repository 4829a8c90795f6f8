package main

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// module creates a module with a main package that uses this repository, and returns its directory.
func module(t testing.TB, program string) string {
	t.Helper()
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	dir := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	require.NoError(t, err)
	_, requires, found := strings.Cut(string(mod), "module github.com/iu-core/iuworker\n")
	require.True(t, found)
	// The versions are those of this repository, so nothing is downloaded.
	mod = []byte("module example.org/shop\n" + requires +
		"\nrequire github.com/iu-core/iuworker v0.0.0\n\nreplace github.com/iu-core/iuworker => " + repository + "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600))
	sum, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	return dir
}

// tool runs go, or the program that it built.
func tool(t testing.TB, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out, errOut bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errOut
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	return out.String() + errOut.String(), err
}

// sample returns the block that a document marks for a test, in one language.
func sample(t testing.TB, test, language string) string {
	t.Helper()
	for _, b := range blocksFor(t, test) {
		if b.info[0] == language {
			return b.text
		}
	}
	require.Fail(t, "no such block", "%s: %s", test, language)
	return ""
}

// as returns the environment of a login.
func as(t testing.TB, db *iutest.DB, login string) []string {
	t.Helper()
	address, err := url.Parse(db.URL)
	require.NoError(t, err)
	address.User = url.User(login)
	return []string{"DATABASE_URL=" + address.String()}
}

// An application in a module of its own inserts jobs as docs/scaleout.md says. Its login has only the documented grants.
func TestApplicationsInsertJobsFromOutside(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "welcome-letter", 1)
	t.Cleanup(func() { db.Exec(t, "DROP OWNED BY campaigns; DROP ROLE campaigns") })
	grants := sample(t, "TestApplicationsInsertJobsFromOutside", "sql")
	db.Exec(t, grants)
	dir := module(t, sample(t, "TestApplicationsInsertJobsFromOutside", "go"))
	said, err := tool(t, dir, nil, "go", "build", "-o", "enqueue", ".")
	require.NoError(t, err, said)
	said, err = tool(t, dir, nil, "go", "vet", ".")
	require.NoError(t, err, said)

	env := as(t, db, "campaigns")
	orders := make([]string, 200)
	for i := range orders {
		orders[i] = uuid.NewString()
	}
	said, err = tool(t, dir, env, "./enqueue", orders[:150]...)
	require.NoError(t, err, said)
	require.Equal(t, "inserted 150 of 150\n", said)
	said, err = tool(t, dir, env, "./enqueue", orders...)
	require.NoError(t, err, said)
	require.Equal(t, "inserted 50 of 200\n", said, "jobs that are unfinished are skipped")
	said, err = tool(t, dir, env, "./enqueue", orders[0], uuid.NewString(), orders[0])
	require.Error(t, err, "one event twice in one call")
	require.Contains(t, said, "21000")

	var needed int
	for grant := range strings.Lines(grants) {
		if strings.HasPrefix(grant, "GRANT ") {
			needed++
			db.Exec(t, strings.NewReplacer("GRANT ", "REVOKE ", " TO ", " FROM ").Replace(grant))
			said, err = tool(t, dir, env, "./enqueue", uuid.NewString())
			require.Error(t, err, "it is not needed: %s", grant)
			require.Contains(t, said, "42501", grant)
			db.Exec(t, grant)
		}
	}
	require.Equal(t, 5, needed)

	program := start(t, db, "work", "--http-addr", "off", "--log-level", "error")
	db.WaitFor(t, patience, "SELECT count(*) = 200 FROM iu_outbox.emission WHERE position IS NOT NULL AND event -> 'data' ->> 'actor' = 'campaigns'")
	db.WaitFor(t, patience, "SELECT count(*) = 200 AND bool_and(queue = 'scaleout' AND state = 'completed') FROM iu_river.river_job")
	run(t, on(db), "verify").done(t)
	require.NotNil(t, program)
}

// An application can import what producers and subscribers need without importing River, and use it as docs/producers.md shows.
func TestApplicationsInsertEventsFromOutside(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "welcome-letter", 1)
	db.Exec(t, "CREATE TABLE public.shop_order (id uuid PRIMARY KEY); GRANT INSERT ON public.shop_order TO iu_app")
	dir := module(t, `package main

import (
	"context"
	"os"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/worker/outbox"
	_ "github.com/iu-core/iuworker/worker/subscribe"
)

`+sample(t, "TestApplicationsInsertEventsFromOutside", "go")+`
func main() {
	pool, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err == nil {
		err = placeOrder(context.Background(), pool, uuid.MustParse(os.Args[1]), uuid.MustParse(os.Args[2]))
	}
	if err != nil {
		panic(err)
	}
}
`)
	said, err := tool(t, dir, nil, "go", "build", "-o", "place", ".")
	require.NoError(t, err, said)
	order := uuid.NewString()
	said, err = tool(t, dir, []string{"DATABASE_URL=" + db.URLAs("iu_app")}, "./place", template.String(), order)
	require.NoError(t, err, said)
	db.WaitFor(t, patience, `SELECT count(*) = 1 FROM iu_outbox.event AS e JOIN shop_order AS o ON o.id = e.event_id
		WHERE e.event_id = $1 AND e.instance_key_suffix = 'welcome-letter-order-' || $1::text AND e.actor = 'iu_app'`, order)

	packages, err := tool(t, dir, nil, "go", "list", "-deps", ".")
	require.NoError(t, err, packages)
	require.NotContains(t, packages, "riverqueue")
	for line := range strings.Lines(packages) {
		if strings.HasPrefix(line, "github.com/iu-core/iuworker/") {
			require.Contains(t, []string{
				"worker/outbox", "worker/subscribe", "internal/dbsession", "internal/listen", "internal/names", "internal/replica", "internal/retry",
			}, strings.TrimPrefix(strings.TrimSpace(line), "github.com/iu-core/iuworker/"))
		}
	}
}
