package webui_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// reported waits until the worker has reported its load.
func (b operating) reported(t *testing.T) {
	t.Helper()
	b.db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.worker_report WHERE load ->> 'hears' = 'listening')")
}

// reports adds settings to those that the worker reports, now and whenever it reports again.
func (b operating) reports(t *testing.T, settings string) {
	t.Helper()
	b.db.Exec(t, `
		CREATE FUNCTION public.add_settings() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			NEW.settings := NEW.settings || TG_ARGV[0]::jsonb;
			RETURN NEW;
		END $$;
		CREATE TRIGGER add_settings BEFORE INSERT OR UPDATE ON iu_outbox.worker_report
			FOR EACH ROW EXECUTE FUNCTION public.add_settings(`+"'"+settings+"'"+`);
		UPDATE iu_outbox.worker_report SET settings = settings`)
}

func TestWorkersShowWhatTheyReport(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.reported(t)
	b.db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_river.river_leader)")
	const old = `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at, started_at)
		VALUES ('old', 7, 'box <1>', 42, '1.2.2', now() + interval '2 days', now() - interval '1 day')
		ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`
	var page string
	for !strings.Contains(page, "box &lt;1&gt;") { // the real worker sweeps silent ones
		b.db.Exec(t, old)
		page = b.get(t, "/workers")
	}
	for _, says := range []string{
		"0 of 10 + 200", `data-label="Woken by"><span>notifications`, "job maintenance", "box &lt;1&gt;, 42",
		`<span class="mark bad">silent</span>`, "not reported",
	} {
		shows(t, page, says)
	}
	require.NotContains(t, page, "Different versions", "a silent one does not count")
	require.Less(t, strings.Index(page, "box &lt;1&gt;"), strings.Index(page, "job maintenance"), "the silent first")

	b.db.Exec(t, strings.ReplaceAll(old, "interval '2 days'", "interval '0'"))
	b.db.KeepAlive(t, "old")
	b.handler = handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Credentials = credentials(t) })
	page = b.get(t, "/workers")
	shows(t, page, "Different versions are running: 1.2.2 (1 worker), 1.2.3 (1 worker).")
	shows(t, page, `1.2.2 <span class="mark closed">differs</span>`)
}

func TestPagesShowHowInstancesAreComposed(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.reported(t)
	const aCall = "by a call for each event"
	require.NotContains(t, b.get(t, "/workers"), aCall)
	shows(t, b.get(t, "/settings"), "in sets, if the database allows it")
	shows(t, b.get(t, "/health"), "<dd>in sets</dd>")

	b.reports(t, `{"compose_by": "function"}`)
	b.handler = handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Credentials = credentials(t) })
	shows(t, b.get(t, "/workers"), "<small>"+aCall)
	shows(t, b.get(t, "/settings"), "<dd>"+aCall)
	health := b.get(t, "/health")
	shows(t, health, "<dd>"+aCall+": --compose-by function<ul")
	shows(t, health, "<li>a restart without --compose-by function changes it")
}

func TestAPageWithoutWorkersSaysHowOneIsStarted(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, nil)
	page := serve(h, http.MethodGet, "/workers", nil).Body.String()
	shows(t, page, "<strong>No worker is alive:</strong>")
	shows(t, page, `data-copy="iuworker work"`)
	settings := serve(h, http.MethodGet, "/settings", nil).Body.String()
	shows(t, settings, "No worker is running.")
	shows(t, settings, "everybody who can reach these pages is an operator")
}

func TestAQueueIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.WaitFor(t, patience, "SELECT count(*) = 2 FROM iu_river.river_queue")
	b.db.OpenGates(t)
	page := b.get(t, "/workers")
	shows(t, page, `href="/queues/events?to=pause">Pause`)
	shows(t, page, `href="/riverui/jobs?state=scheduled&amp;queues=events"`)
	require.NotContains(t, b.get(t, "/workers", asViewer), "/queues/events?to=pause", "a viewer is offered nothing")

	shows(t, b.get(t, "/queues/events?to=pause"), "no event is composed")
	require.NotContains(t, b.get(t, "/queues/events?to=pause", asViewer), `method="post"`)
	require.Equal(t, http.StatusForbidden, b.post("/queues/events", url.Values{"to": {"pause"}}, asViewer).Code)
	b.done(t, b.post("/queues/events", url.Values{"to": {"pause"}}), "otto paused the queue events.")
	b.db.WaitFor(t, patience, "SELECT paused_at IS NOT NULL FROM iu_river.river_queue WHERE name = 'events'")
	again := b.post("/queues/events", url.Values{"to": {"pause"}})
	require.Equal(t, "/workers", again.Header().Get("Location"), "it is paused already")
	require.Len(t, b.audit(t), 1)
	b.handler = handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Credentials = credentials(t) })
	require.Regexp(t, `<span class="mark closed">paused</span> <small>by otto, <time`, b.get(t, "/workers"))
	shows(t, b.get(t, "/queues/events?to=resume"), "It was paused by otto")
	shows(t, b.get(t, "/queues/events?to=pause"), "It is already paused.")

	// A running worker stops taking jobs a moment later. From then on, an event stays in the queue.
	const stays = "EXISTS (SELECT FROM iu_river.river_job WHERE state = 'available' AND created_at < clock_timestamp() - interval '2 seconds')"
	var event uuid.UUID
	for obeyed := false; !obeyed; {
		event = b.insert(t, b.template, uuid.NewString())[0]
		b.db.WaitFor(t, patience, "SELECT state = 'done' OR "+stays+" FROM iu_outbox.event_state($1)", event)
		require.NoError(t, b.db.Pool.QueryRow(t.Context(), "SELECT "+stays).Scan(&obeyed))
	}
	b.done(t, b.post("/queues/events", url.Values{"to": {"resume"}}), "otto resumed the queue events.")
	b.waitState(t, event, "done")
	for path, status := range map[string]int{"/queues/nope?to=pause": 404, "/queues/events?to=stop": 400} {
		require.Equal(t, status, serve(b.handler, http.MethodGet, path, nil, asOperator).Code, path)
	}
}

func TestAQueueThatRiverDoesNotKnowIsNotPaused(t *testing.T) {
	t.Parallel()
	b := operating{}
	b.handler, b.db = newHandler(t, func(cfg *webui.Config) { cfg.Credentials = credentials(t) })
	shows(t, b.get(t, "/queues/scaleout?to=pause"), "Pause the queue scaleout")
	refused := b.post("/queues/scaleout", url.Values{"to": {"pause"}})
	require.Equal(t, http.StatusConflict, refused.Code)
	shows(t, refused.Body.String(), "no worker has served the queue scaleout in the last day")
	require.Empty(t, b.audit(t))
}

func TestSettingsShowWhatIsInForceAndNoSecret(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.reported(t)
	b.db.Exec(t, "SELECT iu_outbox.set_setting('notify-payload', 'cursor', 'ann')")
	b.reports(t, `{"given": [{"name": "lanes", "value": "8", "default": "4", "from": "$IUWORKER_LANES"}]}`)
	page := b.get(t, "/settings", asViewer)
	for _, says := range []string{
		"<strong>cursor</strong>", "iuworker settings set notify-payload event", "ann, <time", "10 jobs of events at once",
		"completed 1 day", "<code>$IUWORKER_LANES</code>",
		"<code>8</code>", "required: 1 operator, 1 viewer", "Retained now",
	} {
		shows(t, page, says)
	}
	for _, secret := range []string{operatorPassword, viewerPassword} {
		require.NotContains(t, page, secret)
	}
}

// A login with the role iu_worker sees workers, queues and settings.
func TestALoginOfAWorkerSeesWorkersAndSettings(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	pool, err := pgxpool.New(t.Context(), b.db.URLAs("iu_worker"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	b.handler = handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Credentials, cfg.Pool = credentials(t), pool })
	for _, path := range []string{"/workers", "/settings", "/consumers", "/health"} {
		require.NotContains(t, b.get(t, path), "Cannot be shown", path)
	}
}
