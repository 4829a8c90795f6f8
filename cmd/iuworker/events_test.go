package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestEventsList(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Contains(t, run(t, on(db), "events", "list").done(t).out, "no events;")
	template := db.Template(t, "letter", 1)
	bury(t, db, template, 2, "invalid_input")
	for _, suffix := range []string{"order-1", "order-2", "invoice-1"} {
		db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
			VALUES (gen_random_uuid(), 'order.placed', $1, $2, 'shop')`, template, suffix)
	}
	list := []string{"events", "list"}
	out := run(t, on(db), list...).done(t).out
	require.Regexp(t, `(?m)^AT +STATE +TEMPLATE +SUFFIX +TYPE +ACTOR +LATENCY +EVENT +REASON$`, out)
	require.Regexp(t, `(?m)^\d{4}-\S+ +waiting +letter +invoice-1 +order.placed +shop `, out)
	require.Equal(t, 6, strings.Count(out, "\n"))

	for _, chosen := range []struct {
		flags []string
		n     int
	}{
		{[]string{"--state", "dead"}, 2},
		{[]string{"--suffix", "order-"}, 2},
		{[]string{"--template", "letter", "--type", "order.placed", "--actor", "shop", "--since", "1h"}, 3},
		{[]string{"--template", template.String(), "--state", "waiting"}, 3},
		{[]string{"--until", "1h"}, 0},
		{[]string{"--actor", "nobody"}, 0},
	} {
		page := decode[operate.EventPage](t, run(t, on(db), slices.Concat(list, chosen.flags, []string{"--json"})...).done(t))
		require.Len(t, page.Events, chosen.n, chosen.flags)
	}

	// The command that it prints lists the rest.
	seen := map[string]bool{}
	next := slices.Concat(list, []string{"--actor", "shop", "--limit", "2"})
	for len(next) > 0 {
		out := run(t, on(db), next...).done(t).out
		for _, id := range regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).FindAllString(out, -1) {
			require.False(t, seen[id], id)
			seen[uuid.MustParse(id).String()] = true
		}
		_, command, _ := strings.Cut(strings.TrimSpace(out), "run: iuworker ")
		next = strings.Fields(strings.ReplaceAll(command, "'", ""))
	}
	require.Len(t, seen, 3)

	run(t, on(db), "events", "list", "--state", "lost").failed(t, exitUsage, "it must be one of waiting, working, parked")
	run(t, on(db), "events", "list", "--template", "leter").failed(t, exitFailed, `"leter"`)
	run(t, on(db), "events", "list", "--from", "x").failed(t, exitUsage, "not a position in the list of events")
	run(t, on(db), "events").failed(t, exitUsage, "events needs a command: one of list")
	requireCompletion(t, on(db), []string{"letter", ":4"}, "events", "list", "--template", "l")
	require.Contains(t, run(t, on(db), "__complete", "events", "list", "--state", "").out, "rolled_back")
}
