package jobs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/sql/iutest"
)

// An event does not wait for the scale-outs that came before it, nor do these wait for ever.
func TestEventsGoBeforeScaleouts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, `
		CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN NEW;
		END $$;
		CREATE TRIGGER hold BEFORE INSERT ON public.iu_auto_instantiate_event_log FOR EACH ROW EXECUTE FUNCTION public.hold()`)
	conn, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "SELECT pg_advisory_lock(1)")
	require.NoError(t, err)

	b := NewBatcher(BatcherConfig{Pool: db.Pool, Lanes: 1})
	defer b.Close()
	var calls sync.WaitGroup
	compose := func(queue string, n int) {
		calls.Go(func() {
			_, err := b.Compose(t.Context(), queue, time.Now(), AutoInstantiateArgs{
				EventID: uuid.New(), EventType: queue, TemplateCollectionID: template, InstanceKeySuffix: fmt.Sprint(queue, "-", n),
				EmitMode: "live", Actor: "a",
			})
			require.NoError(t, err)
		})
	}
	compose(QueueScaleout, 0)
	require.Eventually(t, func() bool { return b.busy.Load() == 1 }, 30*time.Second, time.Millisecond)
	const waiting = 20
	for n := range waiting {
		compose(QueueScaleout, n+1)
		compose(QueueEvents, n+1)
	}
	require.Eventually(t, func() bool { return len(b.scaleout) == waiting && len(b.events) == waiting }, 30*time.Second, time.Millisecond)
	_, err = conn.Exec(context.WithoutCancel(t.Context()), "SELECT pg_advisory_unlock(1)")
	require.NoError(t, err)
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
