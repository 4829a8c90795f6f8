package worker_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker"
)

// Jobs that succeed are logged by the batch. A job that is refused or fails has its own line, and River logs none.
func TestLogHasALineABatch(t *testing.T) {
	t.Parallel()
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template, empty, broken := db.Template(t, "t", 1), db.Template(t, "empty", 0), db.Template(t, "broken", 1)
			db.Exec(t, fmt.Sprintf(`
				CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$;
				CREATE TRIGGER fail BEFORE INSERT ON public.iu_auto_instantiate_event_log
				FOR EACH ROW WHEN (NEW.template_collection_id = '%s') EXECUTE FUNCTION public.fail()`, broken))
			lines := &iutest.Log{}
			start(t, db, func(c *worker.Config) {
				c.Logger = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))
			})
			db.Exec(t, `
				INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
				SELECT 'e', $1, 's-' || n FROM generate_series(1, 200) AS n`, template)
			eventually(t, db, "SELECT count(*) = 200 FROM iu_outbox.emission WHERE position IS NOT NULL")
			if level == slog.LevelInfo {
				iutest.Eventually(t, func() bool { return lines.Count("Relay: moved rows to jobs") > 0 }, patience)
				require.Less(t, lines.Count("\n"), 60)
			}
			refused, failed := insert(t, db, empty, "empty"), insert(t, db, broken, "broken")
			eventually(t, db, "SELECT count(*) = 1 FROM iu_outbox.dead_letter")
			eventually(t, db, "SELECT EXISTS (SELECT FROM iu_river.river_job WHERE errors IS NOT NULL AND args ->> 'event_id' = $1)", failed.String())
			for text, about := range map[string]string{
				"status=template_empty ending=cancelled": refused.String(), "status=error ending=retried": failed.String(),
			} {
				iutest.Eventually(t, func() bool { return lines.Count(text) > 0 }, patience, text)
				require.Positive(t, lines.Count("event_id="+about), text)
			}
			require.Equal(t, level == slog.LevelDebug, lines.Count("Job errored") > 0)
		})
	}
}
