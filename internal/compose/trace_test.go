package compose_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

// tracedEvent returns an event with its own trace.
func tracedEvent(e jobs.AutoInstantiateArgs, n int) jobs.AutoInstantiateArgs {
	e.TraceContext = json.RawMessage(fmt.Sprintf(`{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920%04x-01", "tracestate": "n=%d"}`, n+1, n))
	return e
}

const wrongTraces = `SELECT count(*) FROM iu_outbox.emission
	WHERE event ->> 'traceparent' IS DISTINCT FROM '00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920'
			|| lpad(to_hex(substr(event ->> 'tracestate', 3)::int + 1), 4, '0') || '-01'
		OR event ->> 'subject' IS DISTINCT FROM 'tpl-inst:auto:s-' || substr(event ->> 'tracestate', 3)`

// Each event keeps its trace: in a batch, event by event after one of a batch has failed, and alone if it is announced in its
// transaction. A dry run is not announced.
func TestBatchKeepsTracesApart(t *testing.T) {
	t.Parallel()
	for name, poisoned := range map[string]bool{"whole": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			db.OpenGates(t)
			template := db.Template(t, "t", 1)
			db.Exec(t, `
				CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN RAISE EXCEPTION 'poison'; END $$;
				CREATE TRIGGER fail BEFORE INSERT ON public.iu_auto_instantiate_event_log
					FOR EACH ROW WHEN (NEW.event_type = 'poison') EXECUTE FUNCTION public.fail()`)
			var events []jobs.AutoInstantiateArgs
			for n := range 60 {
				events = append(events, tracedEvent(event(template, fmt.Sprint("s-", n)), n))
			}
			dry := tracedEvent(event(template, "dry"), 61)
			dry.EmitMode = "dry_run"
			events = append(events, dry)
			if poisoned {
				poison := tracedEvent(event(template, "poison"), 62)
				poison.EventType = "poison"
				events = append(events, poison)
			}
			together(t.Context(), batcher(t, db, 1), events...)
			alone := batcher(t, db, 1)
			_, err := alone.Compose(t.Context(), compose.Event{AutoInstantiateArgs: tracedEvent(event(template, "s-60"), 60)})
			require.NoError(t, err)
			var emissions, wrong int
			require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.emission").Scan(&emissions))
			require.Equal(t, 61, emissions)
			require.NoError(t, db.Pool.QueryRow(t.Context(), wrongTraces).Scan(&wrong))
			require.Zero(t, wrong)
		})
	}
}
