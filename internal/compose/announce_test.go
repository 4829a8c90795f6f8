package compose_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

// announcing composes one event by a batcher without a worker, and returns the batch.
func announcing(t *testing.T, db *iutest.DB, e jobs.AutoInstantiateArgs) compose.Batch {
	t.Helper()
	batches := make(chan compose.Batch, 10)
	b := compose.NewBatcher(compose.BatcherConfig{Pool: db.Pool, Lanes: 1, Observe: func(b compose.Batch) { batches <- b }})
	defer b.Close()
	result, err := b.Compose(t.Context(), compose.Event{AutoInstantiateArgs: e})
	require.NoError(t, err)
	require.Equal(t, jobs.StatusInstantiated, result.Status)
	return <-batches
}

func unannounced(t *testing.T, db *iutest.DB) (n int) {
	t.Helper()
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.emission WHERE position IS NULL").Scan(&n))
	return n
}

func TestEventThatIsAloneIsAnnouncedAtOnce(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 2)
	conn, err := pgx.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err = conn.Exec(t.Context(), `LISTEN "iu.template.instance_auto_composed"`)
	require.NoError(t, err)
	for i := range int64(3) {
		batch := announcing(t, db, event(template, fmt.Sprint("s-", i)))
		require.Equal(t, &compose.Emission{Emitted: 1, LastPosition: i + 1, Notified: true}, batch.Emission)
		heard, err := conn.WaitForNotification(t.Context())
		require.NoError(t, err)
		var stored string
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT event::text FROM iu_outbox.emission WHERE position = $1", i+1).Scan(&stored))
		require.Equal(t, stored, heard.Payload)
	}
	dry := event(template, "dry")
	dry.EmitMode = "dry_run"
	require.Nil(t, announcing(t, db, dry).Emission)
	require.Zero(t, unannounced(t, db))
}

func TestWhatIsForTheEmitterIsLeftToIt(t *testing.T) {
	t.Parallel()
	for name, hinder := range map[string]string{
		"the registry row is not active": "UPDATE event_type_registry SET active = false WHERE event_type = 'iu.template.instance_auto_composed'",
		"an error": `
			CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
			CREATE TRIGGER refuse BEFORE UPDATE ON iu_outbox.emission_counter FOR EACH ROW EXECUTE FUNCTION public.refuse()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			db.Exec(t, hinder)
			require.Nil(t, announcing(t, db, event(db.Template(t, "t", 1), "s")).Emission)
			require.Equal(t, 1, unannounced(t, db))
		})
	}

	t.Run("others wait, then the emitter is at work, and rung for", func(t *testing.T) {
		t.Parallel()
		db := iutest.New(t)
		db.OpenGates(t)
		template := db.Template(t, "t", 1)
		db.Exec(t, "SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, 'before', 'live', 'a')", template)
		require.Nil(t, announcing(t, db, event(template, "after others")).Emission)
		require.Equal(t, 2, unannounced(t, db))
		db.Exec(t, "SELECT iu_outbox.emit(10)")

		sleeper, err := pgx.Connect(t.Context(), db.URL) // stands for an emitter that sleeps
		require.NoError(t, err)
		defer func() { require.NoError(t, sleeper.Close(t.Context())) }()
		_, err = sleeper.Exec(t.Context(), "LISTEN iu_outbox_emission; SELECT pg_advisory_lock(26997, 2)")
		require.NoError(t, err)
		tx, err := db.Pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM iu_outbox.emission_counter FOR UPDATE")
		require.NoError(t, err)
		require.Nil(t, announcing(t, db, event(template, "while one emits")).Emission)
		require.NoError(t, tx.Rollback(t.Context()))
		heard, err := sleeper.WaitForNotification(t.Context())
		require.NoError(t, err)
		require.Equal(t, "iu_outbox_emission", heard.Channel)
		require.Equal(t, 1, unannounced(t, db))
	})
}
