package compose_test

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "50"); err != nil { // the command line may ask for more
		panic(err)
	}
	iutest.Main(m)
}

const patience = 90 * time.Second

func batcher(t *testing.T, db *iutest.DB, lanes int) *compose.Batcher {
	t.Helper()
	b := compose.NewBatcher(compose.BatcherConfig{Pool: db.Pool, Lanes: lanes})
	t.Cleanup(b.Close)
	return b
}

func event(template uuid.UUID, suffix string) jobs.AutoInstantiateArgs {
	return jobs.AutoInstantiateArgs{
		EventID: uuid.New(), EventType: "e", TemplateCollectionID: template, InstanceKeySuffix: suffix,
		EmitMode: "live", Actor: "a",
	}
}

type composed struct {
	result compose.Result
	err    error
}

// together composes each event in its own goroutine, and returns the results in the order of the events.
func together(ctx context.Context, b *compose.Batcher, events ...jobs.AutoInstantiateArgs) []composed {
	out := make([]composed, len(events))
	var wg sync.WaitGroup
	for i, e := range events {
		wg.Go(func() { out[i].result, out[i].err = b.Compose(ctx, compose.Event{AutoInstantiateArgs: e}) })
	}
	wg.Wait()
	return out
}

func count(t *testing.T, db *iutest.DB) (instances, transactions int) {
	t.Helper()
	require.NoError(t, db.Pool.QueryRow(t.Context(),
		"SELECT count(*), count(DISTINCT xmin::text) FROM iu_auto_instantiate_event_log").Scan(&instances, &transactions))
	return instances, transactions
}

func TestBatchComposesManyInFewTransactions(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	b := batcher(t, db, 1)
	var events []jobs.AutoInstantiateArgs
	for i := range 300 {
		events = append(events, event(template, fmt.Sprint("s-", i)))
	}
	for _, c := range together(t.Context(), b, events...) {
		require.NoError(t, c.err)
		require.Equal(t, jobs.StatusInstantiated, c.result.Status)
		require.NotNil(t, c.result.InstanceCollectionID)
	}
	instances, transactions := count(t, db)
	require.Equal(t, 300, instances)
	require.Less(t, transactions, 150)
	for _, c := range together(t.Context(), b, events...) {
		require.NoError(t, c.err)
		require.Equal(t, jobs.StatusIdempotentReplay, c.result.Status)
	}
}

// Each event of a batch gets its own result.
func TestBatchKeepsAnswersApart(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template, empty := db.Template(t, "t", 2), db.Template(t, "empty", 0)
	db.Exec(t, `
		CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'poison'; END $$;
		CREATE TRIGGER fail BEFORE INSERT ON public.iu_auto_instantiate_event_log
			FOR EACH ROW WHEN (NEW.event_type = 'poison') EXECUTE FUNCTION public.fail()`)
	poison := event(template, "poison")
	poison.EventType = "poison"
	events := []jobs.AutoInstantiateArgs{poison, event(empty, "empty"), event(uuid.New(), "nowhere"), event(template, "twice"), event(template, "twice")}
	for i := range 60 {
		events = append(events, event(template, fmt.Sprint("s-", i)))
	}
	out := together(t.Context(), batcher(t, db, 1), events...)
	require.ErrorContains(t, out[0].err, "poison")
	require.False(t, compose.MayPass(out[0].err))
	require.Equal(t, jobs.StatusTemplateEmpty, out[1].result.Status)
	require.Equal(t, jobs.StatusTemplateNotFound, out[2].result.Status)
	require.ElementsMatch(t, []jobs.Status{jobs.StatusInstantiated, jobs.StatusInstanceKeyConflict}, []jobs.Status{out[3].result.Status, out[4].result.Status})
	for _, c := range out[5:] {
		require.NoError(t, c.err)
		require.Equal(t, jobs.StatusInstantiated, c.result.Status)
	}
}

// An idle transaction holds a key: the event with that key fails with a transient error, and no other event waits.
func TestBatchSetsHeldKeysAside(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	held := event(template, "held")
	_, err = tx.Exec(t.Context(), "SELECT fn_iu_auto_instantiate_from_event($1, 'e', $2, 'held', 'live', 'a')", held.EventID, template)
	require.NoError(t, err)

	b := batcher(t, db, 1)
	events := []jobs.AutoInstantiateArgs{held}
	for i := range 50 {
		events = append(events, event(template, fmt.Sprint("s-", i)))
	}
	out := together(t.Context(), b, events...)
	require.ErrorIs(t, out[0].err, compose.ErrKeyHeld)
	require.True(t, compose.MayPass(out[0].err))
	for _, c := range out[1:] {
		require.NoError(t, c.err)
	}
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, jobs.StatusIdempotentReplay, together(t.Context(), b, held)[0].result.Status)
}

// An idle transaction locks another row that one event needs: that event fails with a transient error, and others do not.
func TestBatchOutlastsHeldRows(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	free, locked := db.Template(t, "free", 2), db.Template(t, "locked", 2)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM iu_piece_collection WHERE id = $1 FOR UPDATE", locked)
	require.NoError(t, err)
	events := []jobs.AutoInstantiateArgs{event(locked, "locked")}
	for i := range 30 {
		events = append(events, event(free, fmt.Sprint("s-", i)))
	}
	out := together(t.Context(), batcher(t, db, 1), events...)
	require.ErrorContains(t, out[0].err, "55P03")
	require.True(t, compose.MayPass(out[0].err))
	for _, c := range out[1:] {
		require.NoError(t, c.err)
	}
}

// A job whose context ends returns at once. The batch continues for the others that wait for it.
func TestBatchFollowsContexts(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	release := db.HoldComposing(t)

	b := batcher(t, db, 1)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan composed, 1)
	go func() { gone <- together(ctx, b, event(template, "gives-up"))[0] }()
	const running = `SELECT count(*) = $1 FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE '%compose_batch%' AND state = 'active' AND pid <> pg_backend_pid()`
	db.WaitFor(t, patience, running, 1)
	cancel()
	require.ErrorIs(t, (<-gone).err, context.Canceled)
	db.WaitFor(t, patience, running, 0)
	release()
	require.NoError(t, together(t.Context(), b, event(template, "waits"))[0].err)
	instances, _ := count(t, db)
	require.Equal(t, 1, instances)
}

// Events with one suffix in many lanes compose one instance. The others get a conflict, or the transient ErrKeyHeld.
func TestLanesTakeTurnsAtOneKey(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	b := batcher(t, db, 4)
	var events []jobs.AutoInstantiateArgs
	for range 40 {
		events = append(events, event(template, "one"))
	}
	var instantiated int
	for _, c := range together(t.Context(), b, events...) {
		switch {
		case c.err != nil:
			require.ErrorIs(t, c.err, compose.ErrKeyHeld)
		case c.result.Status == jobs.StatusInstantiated:
			instantiated++
		default:
			require.Equal(t, jobs.StatusInstanceKeyConflict, c.result.Status)
		}
	}
	require.Equal(t, 1, instantiated)
}
