//go:build clients

package main

import (
	"bytes"
	"cmp"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// A producer is a sample of docs/producers.md and the program of testdata/producers that contains it. The sample is the block that
// begins with these words; in the program, a line with SAMPLE stands for it. The program gets the id of an order, and prints the
// number of the outbox row that the sample inserted.
type producer struct {
	fence, file string
	prepare     []string // a command to run before
	command     []string
}

var (
	python = debian("/usr/bin/python3", "python3") // another Python would not find Debian's packages
	ruby   = debian("/usr/bin/ruby", "ruby")

	producers = map[string]producer{
		"psycopg":      {fence: "python psycopg", file: "use_psycopg.py", command: []string{python, "use_psycopg.py"}},
		"SQLAlchemy":   {fence: "python sqlalchemy", file: "use_sqlalchemy.py", command: []string{python, "use_sqlalchemy.py"}},
		"Django":       {fence: "python django", file: "use_django.py", command: []string{python, "use_django.py"}},
		"ActiveRecord": {fence: "ruby activerecord", file: "use_activerecord.rb", command: []string{ruby, "use_activerecord.rb"}},
		"PDO":          {fence: "php pdo", file: "use_pdo.php", command: []string{"php", "use_pdo.php"}},
		"JDBC": {
			fence: "java jdbc", file: "use_jdbc.java", command: []string{"java", "-cp", "/usr/share/java/postgresql.jar", "use_jdbc.java"},
		},
		"node-postgres": {fence: "js pg", file: "use_pg.mjs", command: []string{"node", "use_pg.mjs"}},
		"Sequelize":     {fence: "js sequelize", file: "use_sequelize.mjs", command: []string{"node", "use_sequelize.mjs"}},
		"TypeORM":       {fence: "js typeorm", file: "use_typeorm.mjs", command: []string{"node", "use_typeorm.mjs"}},
		"Prisma": {
			fence: "js prisma", file: "use_prisma.mjs", command: []string{"node", "use_prisma.mjs"},
			prepare: []string{"node_modules/.bin/prisma", "generate", "--schema", "schema.prisma"},
		},
		"Drizzle": {fence: "js drizzle", file: "use_drizzle.mjs", command: []string{"node", "use_drizzle.mjs"}},
		"Knex":    {fence: "js knex", file: "use_knex.mjs", command: []string{"node", "use_knex.mjs"}},
		"Kysely":  {fence: "js kysely", file: "use_kysely.mjs", command: []string{"node", "use_kysely.mjs"}},
		"gorm":    {fence: "go gorm", file: "gorm/main.go", command: []string{"go", "run", "./gorm"}},
		"bun":     {fence: "go bun", file: "bun/main.go", command: []string{"go", "run", "./bun"}},
	}
)

func debian(path, name string) string {
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return name
}

// TestProducersInsert runs the samples of docs/producers.md with the real drivers and ORMs, as an application's login. Each inserts an
// event and reads back the number of its row.
func TestProducersInsert(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "welcome-letter", 1)
	db.Exec(t, "CREATE TABLE public.shop_order (id uuid PRIMARY KEY); GRANT INSERT ON public.shop_order TO iu_app")
	dir := installProducers(t)
	env := producerEnv(t, db)

	for name, p := range producers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			order := uuid.New()
			if p.prepare != nil {
				runIn(t, dir, env, p.prepare...)
			}
			said := strings.Fields(runIn(t, dir, env, append(p.command, order.String())...))
			require.NotEmpty(t, said)
			id, err := strconv.ParseInt(said[len(said)-1], 10, 64)
			require.NoError(t, err, "%s", said)
			var event struct{ Type, Suffix, Actor, Mode, Template string }
			require.NoError(t, db.Pool.QueryRow(t.Context(), `
				SELECT e.event_type, e.instance_key_suffix, e.actor, e.emit_mode, e.template_collection_id::text
				FROM iu_outbox.event AS e JOIN public.shop_order AS o ON o.id = e.event_id
				WHERE e.id = $1 AND e.event_id = $2 AND e.created_at <= now()`, id, order).
				Scan(&event.Type, &event.Suffix, &event.Actor, &event.Mode, &event.Template))
			require.Equal(t, "order.placed", event.Type)
			require.Equal(t, "welcome-letter-order-"+order.String(), event.Suffix)
			require.Equal(t, "iu_app", event.Actor)
			require.Equal(t, "live", event.Mode)
			require.Equal(t, template.String(), event.Template)
		})
	}
}

// installProducers inserts the samples into their programs, installs the packages from npm, and returns the directory.
func installProducers(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "producers"))))
	samples := map[string]string{}
	for _, b := range blocksFor(t, "TestProducersInsert") {
		samples[strings.Join(b.info[:2], " ")] = b.text
	}
	surround := func(fence, file string) {
		file = filepath.Join(dir, file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotEmpty(t, samples[fence], "docs/producers.md has no block %q", fence)
		before, after, found := cutLine(string(text), "SAMPLE")
		require.True(t, found, file)
		require.NoError(t, os.WriteFile(file, []byte(before+samples[fence]+after), 0o600))
	}
	for _, p := range producers {
		surround(p.fence, p.file)
	}
	surround("prisma schema", "schema.prisma")
	require.Len(t, samples, len(producers)+1, "docs/producers.md has samples that nothing runs")
	runIn(t, dir, os.Environ(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
	return dir
}

// cutLine cuts a text at the first line that contains the word.
func cutLine(text, word string) (before, after string, found bool) {
	at := strings.Index(text, word)
	if at < 0 {
		return text, "", false
	}
	begin := strings.LastIndexByte(text[:at], '\n') + 1
	_, after, _ = strings.Cut(text[at:], "\n")
	return text[:begin], after, true
}

// producerEnv returns the environment of a login that has only the role of applications.
func producerEnv(t testing.TB, db *iutest.DB) []string {
	t.Helper()
	address := db.URLAs("iu_app")
	server, err := url.Parse(address)
	require.NoError(t, err)
	return append(os.Environ(), "DATABASE_URL="+address, "PGHOST="+server.Hostname(), "PGPORT="+server.Port(), "PGUSER=iu_app",
		"PGDATABASE="+db.Name,
		// Prisma would download its schema engine, which only migrations need.
		"PRISMA_SCHEMA_ENGINE_BINARY="+cmp.Or(os.Getenv("PRISMA_SCHEMA_ENGINE_BINARY"), "/bin/true"), "CHECKPOINT_DISABLE=1")
}

func runIn(t testing.TB, dir string, env []string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the commands are listed above
	if strings.HasPrefix(command[0], "node_modules/") {
		cmd.Path = filepath.Join(dir, command[0])
	}
	var out, errOut bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &errOut
	require.NoError(t, cmd.Run(), "%s: %s%s", command, &out, &errOut)
	return out.String()
}
