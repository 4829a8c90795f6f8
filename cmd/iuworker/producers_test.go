package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/sql/iutest"
)

// TestProducersDocument follows docs/producers.md from its first line to its last, on a database that was only migrated: the
// blocks for an application (sql run store) as the login that the document creates, the others as the owner.
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
	t.Cleanup(func() { db.Exec(t, "DROP ROLE IF EXISTS store") }) // the document makes it, for the whole server
	owner := newReader(t, db)
	address, err := url.Parse(db.URL)
	require.NoError(t, err)
	address.User = url.User("store")
	application := &reader{db: &iutest.DB{URL: address.String(), Name: db.Name}, env: owner.env}

	blocks := readDocument(t, filepath.Join("docs", "producers.md"))
	var followed int
	for i, b := range blocks {
		if !b.is("run") {
			continue
		}
		followed++
		var want *string
		if i+1 < len(blocks) && blocks[i+1].is("out") {
			want = &blocks[i+1].text
		}
		if b.is("store") {
			application.follow(t, b, want)
		} else {
			owner.follow(t, b, want)
		}
	}
	require.Greater(t, followed, 10)
	db.WaitFor(t, patience, `SELECT count(*) = 5 AND count(*) FILTER (WHERE triggered_by = 'store') = 4 FROM public.iu_auto_instantiate_event_log`)
	db.WaitFor(t, patience, "SELECT count(*) = 1 FROM iu_outbox.emission WHERE event ->> 'tracestate' = 'vendor=value'")

	// The same event again, once its job has ended, is a job of its own.
	const order = "5b0c1d0e-2f57-4f0e-8f4e-0d6a7a3f9b11"
	db.WaitFor(t, patience, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event) AND bool_and(state = 'completed') FROM iu_river.river_job")
	db.Exec(t, `SELECT iu_outbox.add_event(template => 'welcome-letter', event_type => 'order.placed', event_id => $1::uuid,
		suffix => 'welcome-letter-order-' || $1::uuid)`, order)
	require.Eventually(t, func() bool {
		return strings.Contains(run(t, on(db), "trace", order).done(t).out, "idempotent_replay")
	}, patience, 50*time.Millisecond)
}

// The table of arguments in docs/producers.md is add_event's.
func TestProducersDocumentHasEveryArgument(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "producers.md"))
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
