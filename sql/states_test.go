package iusql_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// moves holds the arrows of the picture in docs/states.md, each with the statement that moves event $1, of template
// $2, along it.
var moves = map[string]string{
	"[*] --> waiting": "INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix) VALUES ($1, 'e', $2, $1::text)",
	"waiting --> working": `
		WITH c AS MATERIALIZED (SELECT * FROM iu_outbox.claim(10))
		INSERT INTO iu_river.river_job (kind, max_attempts, queue, args) SELECT 'auto_instantiate', 10, 'events', to_jsonb(c) FROM c`,
	"waiting --> done": `
		SELECT c.job FROM iu_outbox.claim(10) AS e CROSS JOIN LATERAL iu_outbox.compose_claimed(
			ARRAY[e.event_id], ARRAY[e.event_type], ARRAY[e.template_collection_id], ARRAY[e.instance_key_suffix], ARRAY['live'], ARRAY['a'],
			ARRAY[e.note], ARRAY[''], 'w', NULL, 'events', NULL, ARRAY[to_jsonb(e)], 10) AS c`,
	"waiting --> dead": "SELECT iu_outbox.set_row_aside(id, 'odd') FROM iu_outbox.event WHERE event_id = $1",
	"working --> working": `
		UPDATE iu_river.river_job SET state = 'scheduled', attempt = 1, scheduled_at = now() + interval '1 second',
			metadata = '{"retry": {"error": "later"}}'
		WHERE args ->> 'event_id' = $1::text`,
	"working --> parked": `
		UPDATE iu_river.river_job SET state = 'scheduled', metadata = '{"parked": {"gate": "composer"}}' WHERE args ->> 'event_id' = $1::text`,
	"parked --> working": "SELECT iu_outbox.resume_parked(10)",
	"working --> done": `
		SELECT fn_iu_auto_instantiate_from_event($1, 'e', template_collection_id, instance_key_suffix, 'live', 'a') FROM iu_outbox.event_state($1);
		UPDATE iu_river.river_job SET state = 'completed', finalized_at = now() WHERE args ->> 'event_id' = $1::text`,
	"working --> dead": `
		UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now() WHERE args ->> 'event_id' = $1::text`,
	"parked --> dead":  "UPDATE iu_river.river_job SET state = 'cancelled', finalized_at = now() WHERE args ->> 'event_id' = $1::text",
	"dead --> waiting": "SELECT iu_outbox.retry_dead_letters(NULL, $1, 10)",
	"dead --> [*]":     "SELECT iu_outbox.drop_dead_letters(NULL, $1, 10)",
	"done --> [*]":     "SELECT fn_iu_auto_instantiate_rollback_by_actor('a', false)",
}

// ways cover all arrows; each of them is followed by an event of its own.
var ways = []string{
	"[*] waiting working working parked working done [*]",
	"[*] waiting dead waiting working dead [*]",
	"[*] waiting working parked dead",
	"[*] waiting done [*]",
}

func TestStatesOfAnEventAreAsPictured(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/states.md")
	require.NoError(t, err)
	pictured := map[string]bool{}
	states := map[string]bool{}
	for _, arrow := range regexp.MustCompile(`(?m)^    (\S+) --> (\S+):`).FindAllStringSubmatch(string(document), -1) {
		pictured[arrow[1]+" --> "+arrow[2]] = true
		states[arrow[1]], states[arrow[2]] = true, true
	}
	delete(states, "[*]")
	for state := range states {
		require.Contains(t, string(document), "| `"+state+"` |")
	}

	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	gone := map[string]bool{}
	for _, way := range ways {
		event := uuid.New()
		stops := strings.Fields(way)
		for i, state := range stops[1:] {
			arrow := stops[i] + " --> " + state
			statement, ok := moves[arrow]
			require.True(t, ok, "no statement moves an event along %s", arrow)
			db.Exec(t, strings.NewReplacer("$1", "'"+event.String()+"'", "$2", "'"+template.String()+"'").Replace(statement))
			want := []string{state}
			if state == "[*]" {
				want = []string{}
			}
			require.Equal(t, want, rows(t, db, "SELECT state FROM iu_outbox.event_state('"+event.String()+"')"), "after %s", arrow)
			gone[arrow] = true
		}
	}
	require.Equal(t, pictured, gone)
}
