package operate_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/operatetest"
)

// Each statement of the list reads a bounded number of blocks, whatever the filter and the page.
func TestEventsReadsABoundedPartOfTheTables(t *testing.T) {
	t.Parallel()
	const rows, mostBlocks = 25_000, 12_000
	db, template := eventful(t, rows)
	db.Exec(t, "ANALYZE iu_outbox.event, iu_outbox.dead_letter, iu_outbox.emission, iu_river.river_job")
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var filters []operate.EventFilter
	for _, state := range append([]string{""}, operate.EventStates...) {
		for _, f := range []operate.EventFilter{
			{},
			{Template: template},
			{Template: uuid.New()},
			{Suffix: "done-1"},
			{Suffix: "nothing"},
			{Actor: "bob"},
			{Actor: "nobody"},
			{EventType: "nothing"},
			{Since: begun.Add(time.Hour), Until: begun.Add(2 * time.Hour)},
			{Since: time.Now()},
			{Until: begun},
			{Template: template, Suffix: "x", Actor: "ann", EventType: "order.placed", Since: begun, Until: begun.Add(time.Hour)},
		} {
			f.State = state
			filters = append(filters, f)
		}
	}
	worst := operatetest.Explained{}
	slowest := operatetest.Explained{}
	for _, filter := range filters {
		on := &operatetest.Explaining{Pool: db.Pool}
		page, err := operate.Events(t.Context(), on, filter, "", 50)
		require.NoError(t, err)
		if page.Older != "" {
			_, err = operate.Events(t.Context(), on, filter, page.Older, 50)
			require.NoError(t, err)
		}
		require.NotEmpty(t, on.Seen)
		for _, statement := range on.Seen {
			if statement.Blocks > worst.Blocks {
				worst = statement
			}
			if statement.Milliseconds > slowest.Milliseconds {
				slowest = statement
			}
			require.LessOrEqual(t, statement.Blocks, mostBlocks, "%+v\n%s", filter, statement.SQL)
		}
	}
	t.Logf("most blocks: %d, slowest: %.0f ms: %s", worst.Blocks, slowest.Milliseconds, slowest.SQL)
}
