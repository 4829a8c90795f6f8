package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// ringsOf returns a function that returns how many notifications a channel has received since the call of ringsOf.
func ringsOf(t *testing.T, db *iutest.DB, channel string) func() int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "LISTEN "+channel)
	require.NoError(t, err)
	var mu sync.Mutex
	var rings int
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := conn.WaitForNotification(ctx); err != nil {
				return
			}
			mu.Lock()
			rings++
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = conn.Close(context.WithoutCancel(t.Context()))
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return rings
	}
}

const relaySleeps = `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 26997 AND objid = 1
	AND mode = 'ExclusiveLock' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`

func TestProducersRingOnlyWhileTheRelaySleeps(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	rings := ringsOf(t, db, "iu_outbox_event")

	insert(t, db, template, "nobody sleeps")
	start(t, db, polling(time.Hour))
	eventually(t, db, relaySleeps)
	require.Zero(t, rings())
	require.Zero(t, value[int](t, db, "SELECT count(*)::int FROM iu_outbox.event"), "the backlog was read before sleeping")

	// The relay also wakes when its listener has connected. A row that is inserted at that moment needs no ring.
	inserted := 0
	iutest.Eventually(t, func() bool {
		eventually(t, db, relaySleeps)
		insert(t, db, template, fmt.Sprint("it sleeps ", inserted))
		inserted++
		eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
		return rings() > 0
	}, patience)

	// A session with the doorbell off does not ring. The relay finds its row at the latest after the next ring.
	eventually(t, db, relaySleeps)
	db.Exec(t, `DO $$ BEGIN
		PERFORM set_config('iu_outbox.doorbell', 'off', true);
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) SELECT 'e', id, 'quiet' FROM iu_outbox.template;
	END $$`)
	eventually(t, db, relaySleeps)
	insert(t, db, template, "loud")
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	require.LessOrEqual(t, rings(), inserted+1)
}

// No row waits for a poll, although producers ring only while a relay sleeps.
func TestNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	spawn(t, db, "one")
	spawn(t, db, "two")
	start(t, db, polling(time.Hour)) // this worker does not poll during the test; the others poll every second
	var wg sync.WaitGroup
	const producers, rounds = 8, 25
	errs := make(chan error, producers)
	for p := range producers {
		wg.Go(func() {
			errs <- func() error {
				conn, err := pgx.Connect(t.Context(), db.URL)
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
				for i := range rounds {
					tx, err := conn.Begin(t.Context())
					if err != nil {
						return err
					}
					_, err = tx.Exec(t.Context(), `INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
						VALUES ('e', $1, $2)`, template, fmt.Sprintf("%d-%d", p, i))
					if err != nil {
						return err
					}
					// The transactions are long, and some are rolled back.
					if _, err = tx.Exec(t.Context(), "SELECT pg_sleep($1)", rand.Float64()/50); err != nil {
						return err
					}
					if i%5 == 4 {
						err = tx.Rollback(t.Context())
					} else {
						err = tx.Commit(t.Context())
					}
					if err != nil {
						return err
					}
				}
				return nil
			}()
		})
	}
	wg.Wait()
	for range producers {
		require.NoError(t, <-errs)
	}
	eventually(t, db, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event)")
	require.Equal(t, producers*rounds*4/5, value[int](t, db, "SELECT count(*)::int FROM iu_river.river_job"))
}

func TestPreparedTransactionsAreRelayed(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "t", 1)
	start(t, db, polling(20*time.Millisecond))
	eventually(t, db, relaySleeps)
	conn, err := db.Pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	name := fmt.Sprintf("prepared_%d", time.Now().UnixNano())
	for _, sql := range []string{
		"BEGIN", "SET LOCAL iu_outbox.doorbell = off",
		fmt.Sprintf(`INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix) VALUES ('e', '%s', 's')`, template),
		fmt.Sprintf("PREPARE TRANSACTION '%s'", name), fmt.Sprintf("COMMIT PREPARED '%s'", name),
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err, sql)
	}
	eventually(t, db, "SELECT count(*) = 1 FROM iu_river.river_job")
}
