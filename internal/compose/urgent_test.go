package compose

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

// An event does not wait for the scale-outs that came before it, nor do these wait for ever.
func TestEventsGoBeforeScaleouts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	release := db.HoldComposing(t)

	b := NewBatcher(BatcherConfig{Pool: db.Pool, Lanes: 1})
	defer b.Close()
	var calls sync.WaitGroup
	compose := func(queue string, n int) {
		calls.Go(func() {
			_, err := b.Compose(t.Context(), queue, time.Now(), jobs.AutoInstantiateArgs{
				EventID: uuid.New(), EventType: queue, TemplateCollectionID: template, InstanceKeySuffix: fmt.Sprint(queue, "-", n),
				EmitMode: "live", Actor: "a",
			})
			require.NoError(t, err)
		})
	}
	compose(jobs.QueueScaleout, 0)
	require.Eventually(t, func() bool { return b.busy.Load() == 1 }, 30*time.Second, time.Millisecond)
	const waiting = 20
	for n := range waiting {
		compose(jobs.QueueScaleout, n+1)
		compose(jobs.QueueEvents, n+1)
	}
	require.Eventually(t, func() bool { return len(b.scaleout) == waiting && len(b.events) == waiting }, 30*time.Second, time.Millisecond)
	release()
	calls.Wait()

	var transactions, mixed, late int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		WITH batch AS (
			SELECT xmin::text AS id, min(created_at) AS at, min(event_type) AS queue, count(DISTINCT event_type) AS queues
			FROM public.iu_auto_instantiate_event_log GROUP BY xmin::text)
		SELECT count(*), count(*) FILTER (WHERE queues > 1),
		       count(*) FILTER (WHERE queue = 'events' AND at > (SELECT max(s.at) FROM batch AS s WHERE s.queue = 'scaleout'))
		FROM batch`).Scan(&transactions, &mixed, &late))
	require.Equal(t, 3, transactions, "what was at work, all events, all scale-outs")
	require.Zero(t, mixed)
	require.Zero(t, late)
}
