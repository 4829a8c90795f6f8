package compose

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

// Events do not wait for scale-outs that came before them, and are never in a transaction with them.
func TestEventsDoNotWaitForScaleouts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	release := db.HoldComposing(t)
	db.Exec(t, `
		DROP TRIGGER hold ON public.iu_auto_instantiate_event_log;
		CREATE TRIGGER hold BEFORE INSERT ON public.iu_auto_instantiate_event_log
			FOR EACH ROW WHEN (NEW.event_type = 'scaleout') EXECUTE FUNCTION public.hold()`)

	live := NewBatcher(BatcherConfig{Pool: db.Pool, Lanes: 1})
	bulk := NewBatcher(BatcherConfig{Pool: db.Pool, Lanes: 1, Apart: live})
	w := NewWorker(WorkerConfig{Events: live, Scaleouts: bulk, Hold: &Hold{}})
	defer w.cfg.Events.Close()
	defer w.cfg.Scaleouts.Close()
	var events, scaleouts sync.WaitGroup
	compose := func(calls *sync.WaitGroup, queue string, n int) {
		calls.Go(func() {
			args := jobs.AutoInstantiateArgs{
				EventID: uuid.New(), EventType: queue, TemplateCollectionID: template, InstanceKeySuffix: fmt.Sprint(queue, "-", n),
				EmitMode: "live", Actor: "a",
			}
			args.IdempotencyKey = args.Key()
			call := func() error {
				_, err := w.compose(t.Context(), &river.Job[jobs.AutoInstantiateArgs]{JobRow: &rivertype.JobRow{Queue: queue}, Args: args})
				return err
			}
			err := call()
			for try := 0; queue == jobs.QueueScaleout && err != nil && MayPass(err) && try < 5; try++ { // it was held for longer than a statement may take
				err = call()
			}
			require.NoError(t, err)
		})
	}
	compose(&scaleouts, jobs.QueueScaleout, 0)
	iutest.Eventually(t, func() bool { return w.cfg.Scaleouts.Busy() == 1 }, 30*time.Second)
	const waiting = 20
	for n := range waiting {
		compose(&scaleouts, jobs.QueueScaleout, n+1)
		compose(&events, jobs.QueueEvents, n+1)
	}
	events.Wait()
	iutest.Eventually(t, func() bool { return w.cfg.Scaleouts.Busy() == 1 }, 30*time.Second)
	release()
	scaleouts.Wait()

	var composed, mixed int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		WITH batch AS (
			SELECT count(*) AS events, count(DISTINCT event_type) AS queues
			FROM public.iu_auto_instantiate_event_log GROUP BY xmin::text)
		SELECT sum(events), count(*) FILTER (WHERE queues > 1) FROM batch`).Scan(&composed, &mixed))
	require.Equal(t, 1+2*waiting, composed)
	require.Zero(t, mixed)
}
