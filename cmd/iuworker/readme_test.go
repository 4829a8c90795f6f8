package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/sql/iutest"
)

// asProgram makes the test binary be iuworker: what the documents run is the program that is tested.
const asProgram = "README_TEST_AS_IUWORKER"

func init() {
	if os.Getenv(asProgram) != "" {
		main()
	}
}

var updateReadme = flag.Bool("update", false, "write README's table of flags anew")

// A block of a document: its language, then what the tests do with it.
//
//	sql run, sh run   run it on one database, in the documents' order; it must not fail
//	sql run await     the same, again until its output is the one that follows
//	… out             what the block before it prints, but for ids, times and the width of columns
//	text demo         what the demo prints, likewise
type block struct {
	at   string // document and line
	info []string
	text string
}

func (b block) is(word string) bool { return slices.Contains(b.info, word) }

func readDocument(t testing.TB, name string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	require.NoError(t, err)
	var current *block
	var indent string // of a block in a list
	for i, line := range strings.Split(string(text), "\n") {
		before, fence, isFence := strings.Cut(line, "```")
		isFence = isFence && strings.TrimSpace(before) == ""
		switch {
		case isFence && current == nil:
			current, indent = &block{at: fmt.Sprintf("%s:%d", name, i+1), info: strings.Fields(fence)}, before
		case isFence:
			blocks = append(blocks, *current)
			current = nil
		case current != nil:
			current.text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	require.Nil(t, current, "%s has a block without an end", name)
	return blocks
}

// TestDocumentsAreTrue follows the documents from their first line to their last, on a database that a demo made.
func TestDocumentsAreTrue(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	demo := run(t, on(db), "demo").done(t).out
	db.Exec(t, "CREATE TABLE public.shop_order (id uuid PRIMARY KEY); CREATE TABLE public.search_index (instance_key text)")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	go func() { ended <- runWith(ctx, on(db), "work", "--http-addr", "off", "--log-level", "error") }()
	defer func() {
		stop()
		(<-ended).done(t)
	}()
	reader := newReader(t, db)
	t.Cleanup(func() { db.Exec(t, "DROP ROLE IF EXISTS shop, composing, oncall, search") }) // README makes them, for the whole server

	for _, name := range []string{"README.md", "OPERATIONS.md"} {
		blocks := readDocument(t, name)
		for i, b := range blocks {
			var want *string
			if i+1 < len(blocks) && blocks[i+1].is("out") {
				want = &blocks[i+1].text
			}
			switch {
			case b.is("demo"):
				require.Equal(t, normal(b.text), normal(demo), "%s: the demo prints something else", b.at)
			case b.is("run"):
				reader.follow(t, b, want)
			}
		}
	}
	checkGoCode(t, db)
}

// reader does what the documents tell their reader to do.
type reader struct {
	db  *iutest.DB
	env []string
}

func newReader(t testing.TB, db *iutest.DB) *reader {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec env %s=1 '%s' \"$@\"\n", asProgram, self)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "iuworker"), []byte(script), 0o700)) //nolint:gosec // it is a program
	address, err := url.Parse(db.URL)
	require.NoError(t, err)
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "IUWORKER_DATABASE_URL="+db.URL, "PGHOST="+address.Hostname(),
		"PGPORT="+address.Port(), "PGUSER="+address.User.Username(), "PGDATABASE="+db.Name, "PGSSLMODE=disable")
	return &reader{db: db, env: env}
}

func (r *reader) follow(t testing.TB, b block, want *string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out := strings.ReplaceAll(r.run(t, b), r.db.Name, databaseName) // the documents show the database of make dev
		switch {
		case want == nil || normal(*want) == normal(out):
			return
		case !b.is("await") || time.Now().After(deadline):
			require.Equal(t, normal(*want), normal(out), "%s: it prints something else", b.at)
		}
	}
}

func (r *reader) run(t testing.TB, b block) string {
	t.Helper()
	if b.is("sql") {
		file := filepath.Join(t.TempDir(), "block.sql")
		require.NoError(t, os.WriteFile(file, []byte(b.text), 0o600))
		out, err := iutest.Psql(t, r.db, "-f", file)
		require.NoError(t, err, b.at)
		return out
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", b.text)
	var out, errOut bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, &out, &errOut
	require.NoError(t, cmd.Run(), "%s: %s", b.at, errOut.String())
	return out.String()
}

// volatile is what differs from run to run, longest first.
var volatile = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "KEY"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d)`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-\d+`), "CURSOR"},
	{regexp.MustCompile(`order-[0-9a-f]{6}-\d\d`), "order-RUN"},
	{regexp.MustCompile(`\b[\d.]+ ?(ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`PostgreSQL [^,;\n]+`), "PostgreSQL VERSION"},
	{regexp.MustCompile(`of its own|as given`), "WHOSE"},
	{regexp.MustCompile(`worker [\w.-]+ +`), "worker ID "},
	{regexp.MustCompile(`-{2,}`), "-"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// normal takes out of an output what differs from run to run; JSON may be broken into lines anywhere.
func normal(text string) string {
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(text)) == nil {
		text = compact.String()
	}
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.word)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// checkGoCode runs the functions that README shows, which are those of readme_code_test.go.
func checkGoCode(t testing.TB, db *iutest.DB) {
	t.Helper()
	code, err := os.ReadFile("readme_code_test.go")
	require.NoError(t, err)
	var shown int
	for _, b := range readDocument(t, "README.md") {
		if b.is("go") {
			shown++
			require.Contains(t, string(code), b.text, "%s: readme_code_test.go has other code", b.at)
		}
	}
	require.Equal(t, 2, shown)
	runReadmeCode(t, db)
}

const (
	tableBegin = "<!-- flags: go test ./cmd/iuworker -run TestReadmeTable -update -->\n"
	tableEnd   = "<!-- flags end -->"
)

func TestReadmeTableHasEveryFlag(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), tableBegin)
	require.True(t, found)
	shown, after, found := strings.Cut(rest, tableEnd)
	require.True(t, found)
	table := flagTable((&app{}).rootCommand())
	if *updateReadme {
		require.NoError(t, os.WriteFile(path, []byte(before+tableBegin+table+tableEnd+after), 0o600))
		return
	}
	require.Equal(t, table, shown, "README's table is not what the flags are: run go test ./cmd/iuworker -run TestReadmeTable -update")
}

// saidDefault is how a flag's help says a default that is no value.
var saidDefault = regexp.MustCompile(` \(default ([^)]*)\)$`)

// flagRow is a row of the table: a flag, in the commands in which it means the same.
type flagRow struct{ name, kind, fallback, usage string }

// flagTable makes README's table: the flags of every command, those of work, then the others by name.
func flagTable(root *cobra.Command) string {
	commands := map[flagRow][]string{}
	settings := map[flagRow]bool{}
	note := func(cmd *cobra.Command, f *pflag.Flag, command string) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		usage := strings.TrimSuffix(f.Usage, " [$"+variable(f.Name)+"]")
		row := flagRow{f.Name, f.Value.Type(), f.DefValue, usage}
		commands[row] = append(commands[row], command)
		settings[row] = settings[row] || hasVariable(cmd, f)
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { note(root, f, "every command") })
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { note(cmd, f, spoken(cmd)) })
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)

	rank := func(row flagRow) int {
		switch {
		case slices.Contains(commands[row], "every command"):
			return 0
		case slices.Contains(commands[row], "work"):
			return 1
		}
		return 2
	}
	rows := slices.SortedFunc(maps.Keys(commands), func(a, b flagRow) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.name, b.name), cmp.Compare(commands[a][0], commands[b][0]))
	})
	const head = "| flag and variable | default | of | meaning |\n| --- | --- | --- | --- |\n"
	var table strings.Builder
	table.WriteString(head)
	others := slices.IndexFunc(rows, func(row flagRow) bool { return rank(row) == 2 })
	for i, row := range rows {
		if i == others {
			table.WriteString("\n<details><summary>Flags of the other commands</summary>\n\n" + head)
		}
		kind := " " + strings.ReplaceAll(row.kind, "|", `\|`)
		if row.kind == "bool" {
			kind = ""
		}
		usage, fallback := row.usage, row.fallback
		if said := saidDefault.FindStringSubmatch(usage); said != nil {
			usage, fallback = strings.TrimSuffix(usage, said[0]), said[1]
		} else if fallback == "false" || fallback == "0" {
			fallback = "" // none
		} else if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		slices.Sort(commands[row])
		named := ""
		if settings[row] {
			named = " `" + variable(row.name) + "`"
		}
		fmt.Fprintf(&table, "| `--%s%s`%s | %s | %s | %s |\n",
			row.name, kind, named, fallback, strings.Join(commands[row], ", "), usage)
	}
	return table.String() + "\n</details>\n"
}
