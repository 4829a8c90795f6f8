package webui_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestAnEventsWholeWayIsShown(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	events := b.insert(t, b.template, "a")
	b.waitState(t, events[0], "parked")
	parked := b.find(t, events[0].String())
	shows(t, parked, "Waits for its gate to open: the auto-instantiate gate is closed</p>")
	shows(t, parked, `data-copy="iuworker gate open auto-instantiate"`)

	b.db.OpenGates(t)
	b.waitAnnounced(t, 1)
	b.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mailer', epoch, 1 FROM iu_outbox.emission_counter")
	b.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'slow', epoch, 0 FROM iu_outbox.emission_counter")
	var key, instance string
	var job int64
	require.NoError(t, b.db.Pool.QueryRow(t.Context(), `
		SELECT l.idempotency_key, l.instance_collection_id, (SELECT max(j.id) FROM iu_river.river_job AS j)
		FROM public.iu_auto_instantiate_event_log AS l`).Scan(&key, &instance, &job))
	b.waitCompleted(t, 1)
	for _, reference := range []string{events[0].String(), key, instance, strconv.FormatInt(job, 10), "tpl-inst:auto:a"} {
		page := b.find(t, reference)
		for _, says := range []string{
			">done</span> <a href=\"/templates/letter\">letter</a>, a", "/riverui/jobs/" + strconv.FormatInt(job, 10), ">instantiated",
			"<strong>tpl-inst:auto:a</strong>", "matches", "Announced at position 1", "Consumer mailer has passed it", "Consumer slow has not reached it",
			instance, key, "Inserted into the outbox", "Dispatched to the queue events", "Composed", `after `,
		} {
			shows(t, page, says, reference)
		}
		require.NotContains(t, page, "Waits for")
	}

	wrong := b.insert(t, uuid.New(), "b")
	b.waitState(t, wrong[0], "dead")
	shows(t, b.find(t, wrong[0].String()), "no such template, b")
}

// find searches for a text, and returns the event's page.
func (b operating) find(t *testing.T, reference string) string {
	t.Helper()
	w := b.ask("/trace?q=" + reference)
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
	return b.get(t, w.Header().Get("Location"))
}
