package main

import (
	"context"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// docs/producers.md is followed from its first line to its last, on a database that was only migrated. The blocks for an application
// (store) run as the login that the document creates, the others as the owner.
func TestProducersDocument(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "CREATE TABLE public.shop_order (id uuid PRIMARY KEY); GRANT INSERT ON public.shop_order TO iu_app")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	go func() { ended <- runWith(ctx, on(db), "work", "--http-addr", "off", "--log-level", "error") }()
	defer func() {
		stop()
		(<-ended).done(t)
	}()
	t.Cleanup(func() { db.Exec(t, "DROP ROLE IF EXISTS store") }) // the document creates this role, which belongs to the whole server
	owner := newReader(t)
	owner.use(db)
	address, err := url.Parse(db.URL)
	require.NoError(t, err)
	address.User = url.User("store")
	application := *owner
	application.db = &iutest.DB{URL: address.String(), Name: db.Name}

	blocks := readDocument(t, "docs/producers.md")
	var followed int
	for i, b := range blocks {
		if test, _ := b.value("test"); test != "TestProducersDocument" {
			continue
		}
		followed++
		var want *string
		if i+1 < len(blocks) && blocks[i+1].is("out") {
			want = &blocks[i+1].text
		}
		// Wait like a slow reader: a duplicate that is inserted before the worker is done has no job of its own.
		db.WaitFor(t, patience, `SELECT NOT EXISTS (SELECT FROM iu_outbox.event)
			AND NOT EXISTS (SELECT FROM iu_river.river_job WHERE state NOT IN ('completed', 'cancelled', 'discarded'))`)
		if b.is("store") {
			application.run(t, b, want)
		} else {
			owner.run(t, b, want)
		}
	}
	require.Greater(t, followed, 10)
	db.WaitFor(t, patience, "SELECT count(*) = 5 AND count(*) FILTER (WHERE triggered_by = 'store') = 4 FROM public.iu_auto_instantiate_event_log")
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE event ->> 'tracestate' = 'vendor=value'")
}

// The table of arguments in docs/producers.md is add_event's.
func TestProducersDocumentHasEveryArgument(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	text, err := os.ReadFile(inRepository("docs/producers.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "| argument | default | |\n| --- | --- | --- |\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		documented = append(documented, strings.Trim(strings.Split(row, "|")[1], " `"))
	}
	var arguments []string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT proargnames FROM pg_proc WHERE proname = 'add_event'").Scan(&arguments))
	require.Equal(t, arguments, documented)
}
