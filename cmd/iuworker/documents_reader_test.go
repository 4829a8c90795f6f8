package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/iutest/executable"
	"github.com/iu-core/iuworker/internal/proxytest"
)

// asProgram is the variable that makes the test binary run as iuworker, for the documents.
const asProgram = "DOCUMENTS_TEST_AS_IUWORKER"

func init() {
	if os.Getenv(asProgram) != "" {
		main()
	}
}

// The quick start needs only a checkout: dev starts the database.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	newReader(t).follow(t, "README.md")
}

// The other documents are followed from the first line to the last, starting with an empty database.
func TestDocumentsAreTrue(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	db.Exec(t, "CREATE TABLE public.shop_order (id uuid PRIMARY KEY); CREATE TABLE public.search_index (instance_key text)")
	t.Cleanup(func() { db.Exec(t, "DROP ROLE IF EXISTS shop, composing, oncall, search") }) // deploy.md creates these roles, which belong to the whole server
	reader := newReader(t)
	reader.use(db)
	for _, document := range documents {
		if document.name != "README.md" {
			reader.follow(t, document.name)
		}
	}
	runDocumentCode(t, db)
}

// reader does what the documents tell their readers to do.
type reader struct {
	db       *iutest.DB // nil: the database that dev starts
	dir, bin string
	pages    string // replaces documentedPages, if not empty
	env      []string
	started  *buffer // the output of the last started block
}

// newReader creates a checkout with a built program. The caller sets the database, unless the documents start dev.
func newReader(t testing.TB) *reader {
	t.Helper()
	iutest.Heavy(t)
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	r := &reader{dir: dir, bin: filepath.Join(dir, "bin"), pages: proxytest.FreeAddress(t)}
	require.NoError(t, os.Mkdir(r.bin, 0o700))
	r.program(t, "bin/iuworker", fmt.Sprintf("exec env %s=1 '%s' \"$@\"", asProgram, self))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "path"), 0o700))
	r.program(t, "path/iuworker", fmt.Sprintf("exec '%s/iuworker' \"$@\"", r.bin))
	r.program(t, "path/make", fmt.Sprintf("exec '%s/iuworker' \"$@\"", r.bin)) // the targets have the names of commands
	for _, name := range os.Environ() {
		if !strings.HasPrefix(name, "IUWORKER_") && !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "DATABASE_URL=") {
			r.env = append(r.env, name)
		}
	}
	r.env = append(r.env, "PATH="+filepath.Join(dir, "path")+":"+os.Getenv("PATH"), "IUWORKER_HTTP_ADDR="+r.pages)
	return r
}

func (r *reader) use(db *iutest.DB) {
	r.db = db
	r.env = append(r.env, "IUWORKER_DATABASE_URL="+db.URL)
}

func (r *reader) program(t testing.TB, name, script string) {
	t.Helper()
	executable.Write(t, filepath.Join(r.dir, name), "#!/bin/sh\n"+script+"\n")
}

// follow does what a document says, from its first line to its last.
func (r *reader) follow(t testing.TB, document string) {
	t.Helper()
	blocks := readDocument(t, document)
	for i, b := range blocks {
		var want *string
		if i+1 < len(blocks) && blocks[i+1].is("out") && !blocks[i+1].is("started") {
			want = &blocks[i+1].text
		}
		switch {
		case b.is("not-run:"):
		case b.is("run"):
			r.run(t, b, want)
		case b.is("start"):
			r.start(t, b, want)
		case b.is("started"):
			r.await(t, b.at, b.text)
		}
	}
}

// run runs a block, and compares its output with the block that shows it, if there is one.
func (r *reader) run(t testing.TB, b block, want *string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out, err := r.output(t, b)
		out = r.shown(out)
		switch {
		case err == nil && (want == nil || matches(lines(*want), lines(out))):
			return
		case b.is("await") && time.Now().Before(deadline):
		default:
			require.NoError(t, err, b.at)
			require.Equal(t, strings.Join(lines(*want), "\n"), strings.Join(lines(out), "\n"), "%s: it prints something else", b.at)
		}
	}
}

// shown replaces the test's database and address with those of make dev, which the documents show.
func (r *reader) shown(out string) string {
	if r.db != nil {
		out = strings.ReplaceAll(out, r.db.Name, databaseName)
	}
	if r.pages != "" {
		out = strings.ReplaceAll(out, r.pages, documentedPages)
	}
	return out
}

func (r *reader) output(t testing.TB, b block) (string, error) {
	t.Helper()
	if b.is("sql") {
		file := filepath.Join(t.TempDir(), "block.sql")
		require.NoError(t, os.WriteFile(file, []byte(b.text), 0o600))
		return iutest.Psql(t, r.db, "-f", file)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := r.shell(ctx, b)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errOut.String())
	}
	return out.String(), nil
}

func (r *reader) shell(ctx context.Context, b block) *exec.Cmd {
	script := b.text
	if r.pages != "" {
		script = strings.ReplaceAll(script, documentedPages, r.pages)
	}
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = r.dir, r.env
	return cmd
}

// start runs a block until the test ends, and waits until it has printed what the document shows. An address that the block exports
// is exported to all later blocks.
func (r *reader) start(t testing.TB, b block, want *string) {
	t.Helper()
	cmd := r.shell(context.WithoutCancel(t.Context()), b)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.started = newBuffer()
	errOut := newBuffer()
	cmd.Stdout, cmd.Stderr = r.started, errOut
	cmd.Env = append(cmd.Env, "PGAPPNAME="+startedName)
	require.NoError(t, cmd.Start(), b.at)
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("%s: %.5000s %.5000s", b.at, r.started.String(), errOut.String())
		}
	})
	if want == nil {
		r.awaitSession(t, b)
		return
	}
	r.await(t, b.at, *want)
	if exported := exportLine.FindStringSubmatch(r.started.String()); exported != nil {
		r.env = append(r.env, exported[1]+"="+exported[2])
	}
}

// documentedPages is the address of the pages in the documents.
const documentedPages = "127.0.0.1:8080"

const startedName = "started-by-a-document"

var exportLine = regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`)

// awaitSession waits until the started program is connected, and, if it is a subscriber, has read the whole history.
func (r *reader) awaitSession(t testing.TB, b block) {
	t.Helper()
	reads := `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = '` + startedName + `'`
	if strings.Contains(b.text, "subscribe") {
		reads += ` AND query LIKE '%FROM iu_outbox.emission AS e%'`
	}
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := r.shell(ctx, block{text: `psql -XAt "$IUWORKER_DATABASE_URL" <<'EOF'` + "\n" + reads + "\nEOF\n"}).Output()
		cancel()
		require.NoError(t, err)
		if strings.TrimSpace(string(out)) == "t" {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s: it does not work", b.at)
	}
}

// await waits until the output of the last started block contains the lines.
func (r *reader) await(t testing.TB, at, want string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	wanted := append(append([]string{"…"}, lines(want)...), "…")
	for {
		r.started.mu.Lock()
		wake, out := r.started.wake, r.started.text.String()
		r.started.mu.Unlock()
		if matches(wanted, lines(r.shown(out))) {
			return
		}
		select {
		case <-wake:
		case <-deadline.C:
			require.Equal(t, strings.Join(lines(want), "\n"), strings.Join(lines(r.shown(out)), "\n"), "%s: it prints something else", at)
		}
	}
}

// matches reports whether the output is what the document shows. … stands for any lines, or for the rest of its line.
func matches(want, out []string) bool {
	switch {
	case len(want) == 0:
		return len(out) == 0
	case want[0] == "…":
		return matches(want[1:], out) || len(out) > 0 && matches(want, out[1:])
	case len(out) == 0:
		return false
	}
	begin, open := strings.CutSuffix(want[0], "…")
	return (want[0] == out[0] || open && strings.HasPrefix(out[0], strings.TrimRight(begin, " "))) && matches(want[1:], out[1:])
}

// volatile matches what differs between runs, the longest first.
var volatile = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`'postgres://[^']*'`), "'ADDRESS'"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "KEY"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d)`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-\d+`), "CURSOR"},
	{regexp.MustCompile(`order-[0-9a-f]{6}-\d\d`), "order-RUN"},
	{regexp.MustCompile(`\b(\d+[dhm]|[\d.]+ ?m?s)+\b`), "DURATION"},
	{regexp.MustCompile(`PostgreSQL [^,;\n]+`), "PostgreSQL VERSION"},
	{regexp.MustCompile(`[\w.-]+ +alive,`), "WORKER alive,"},
	{regexp.MustCompile(`-{2,}`), "-"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// lines returns the nonempty lines of an output, without what differs between runs. JSON becomes one line.
func lines(text string) (lines []string) {
	if compact, err := compactJSON(text); err == nil {
		text = compact
	}
	for line := range strings.Lines(text) {
		if compact, err := compactJSON(line); err == nil {
			line = compact
		}
		for _, v := range volatile {
			line = v.pattern.ReplaceAllString(line, v.word)
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func compactJSON(text string) (string, error) {
	var compact bytes.Buffer
	err := json.Compact(&compact, []byte(text))
	return compact.String(), err
}

// Every length of time that a command prints is one that differs between runs.
func TestDurationsOfTheDocumentsDiffer(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{
		0, 7 * time.Millisecond, 1900 * time.Millisecond, 59_990 * time.Millisecond, time.Minute, 61 * time.Second, time.Hour,
		time.Hour + 2*time.Second, 2*time.Hour + 3*time.Minute, 24 * time.Hour, 49 * time.Hour,
	} {
		require.Equal(t, []string{"up DURATION"}, lines("up "+short(d)), d)
	}
}
