package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/internal/proxytest"
)

var updateDocuments = flag.Bool("update", false, "write what the documents have from the program: flags, commands, metrics")

// generated compares a part of a document with the expected text, or, with the flag -update, writes that text.
func generated(t *testing.T, document, name, want string) {
	t.Helper()
	text, err := os.ReadFile(inRepository(document))
	require.NoError(t, err)
	begin := "<!-- " + name + ": go test ./cmd/iuworker -run " + t.Name() + " -update -->\n"
	end := "<!-- " + name + " end -->"
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found, "%s: %s", document, begin)
	shown, after, found := strings.Cut(rest, end)
	require.True(t, found, "%s: %s", document, end)
	if *updateDocuments {
		require.NoError(t, os.WriteFile(inRepository(document), []byte(before+begin+want+end+after), 0o600))
		return
	}
	require.Equal(t, want, shown, "%s: run go test ./cmd/iuworker -run %s -update", document, t.Name())
}

// The tables of commands and metrics in docs/reference.md are the program's.
func TestReference(t *testing.T) {
	t.Parallel()
	var commands, instruments strings.Builder
	commands.WriteString("| command | does |\n| --- | --- |\n")
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.RunE != nil && !cmd.Hidden {
			fmt.Fprintf(&commands, "| `iuworker %s` | %s |\n", spoken(cmd), cmd.Short)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, cmd := range (&app{}).rootCommand().Commands() {
		walk(cmd)
	}
	generated(t, "docs/reference.md", "commands", commands.String())

	instruments.WriteString("| metric | type | meaning |\n| --- | --- | --- |\n")
	for _, m := range metrics.Catalog() {
		name := m.Name
		if len(m.Labels) > 0 {
			name += "{" + strings.Join(m.Labels, ",") + "}"
		}
		fmt.Fprintf(&instruments, "| `%s` | %s | %s |\n", name, m.Type, m.Help)
	}
	generated(t, "docs/reference.md", "metrics", instruments.String())
}

// referenceSection returns the names in code in a table of docs/reference.md, except those in its last column.
func referenceSection(t testing.TB, name string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(inRepository("docs/reference.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "<!-- "+name+" -->\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "<!-- "+name+" end -->")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		for _, cell := range cells[1:max(1, len(cells)-2)] { // the last one is an explanation
			for _, span := range codeSpan.FindAllString(cell, -1) {
				names = append(names, strings.Trim(span, "`"))
			}
		}
	}
	return names
}

// docs/reference.md lists all tables and views of the worker's schema, and no others.
func TestReferenceHasEveryRelation(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	rows, err := db.Pool.Query(t.Context(), `SELECT relname FROM pg_class
		WHERE relnamespace = 'iu_outbox'::regnamespace AND relkind IN ('r', 'v')`)
	require.NoError(t, err)
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.ElementsMatch(t, there, referenceSection(t, "relations"))
}

var navigationLink = regexp.MustCompile(`<a href="([^"]+)"[^>]*?(?: data-key="(\w)")?>`)

// A worker serves the paths that docs/reference.md lists, and its pages are those in the navigation.
func TestReferencePathsAreServed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	address := proxytest.FreeAddress(t)
	ended := make(chan result, 1)
	go func() { ended <- runWith(ctx, on(db), "work", "--http-addr", address, "--log-level", "error") }()
	defer func() {
		stop()
		(<-ended).done(t)
	}()
	db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.worker)")
	paths := referenceSection(t, "paths")
	require.Contains(t, paths, "/healthz")
	var home string
	for _, path := range paths {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		if path == "/" {
			page, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			home = string(page)
		}
		require.NoError(t, response.Body.Close())
		require.NotEqual(t, http.StatusNotFound, response.StatusCode, path)
	}
	var pages []string
	_, navigation, _ := strings.Cut(home, "<nav")
	navigation, _, _ = strings.Cut(navigation, "</nav>")
	for _, link := range navigationLink.FindAllStringSubmatch(navigation, -1) {
		pages = append(pages, link[1])
		if link[2] != "" {
			pages = append(pages, "g", link[2])
		}
	}
	require.Equal(t, pages, referenceSection(t, "pages"), "the pages in the navigation")
	http.DefaultClient.CloseIdleConnections()
}
