package webui_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestAGateIsOpenedAfterAPageThatSaysWhatWillRun(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.Exec(t, "SELECT iu_outbox.set_gate('composer', true, 'test')")
	events := b.insert(t, b.template, "a", "b", "c")
	for _, event := range events {
		b.waitState(t, event, "parked")
	}

	ask := b.get(t, "/gates/auto-instantiate?to=open")
	shows(t, ask, "<strong>3 jobs</strong> parked at this gate will run at once")
	require.NotContains(t, b.get(t, "/gates/auto-instantiate?to=open", asViewer), `method="post"`, "a viewer is offered nothing")
	b.done(t, b.post("/gates/auto-instantiate", url.Values{"to": {"open"}}),
		"otto opened the gate auto-instantiate; 3 parked jobs run now.")
	for _, event := range events {
		b.waitState(t, event, "done")
	}
	require.Contains(t, b.log.String(), `msg="Audit: a change from the pages" actor=otto action=gate.open`)

	again := b.post("/gates/auto-instantiate", url.Values{"to": {"open"}})
	require.Equal(t, "/", again.Header().Get("Location"))
	require.Len(t, b.audit(t), 1, "what is open already is not opened")
	shows(t, b.get(t, "/gates/auto-instantiate?to=open"), "The gate is already open")
	b.done(t, b.post("/gates/composer", url.Values{"to": {"close"}}), "otto closed the gate composer.")
	shows(t, b.get(t, "/gates/auto-instantiate?to=close"), "Dry runs are still composed")
	b.done(t, b.post("/gates/auto-instantiate", url.Values{"to": {"close"}}), "otto closed the gate auto-instantiate.")
	shows(t, b.get(t, "/gates/auto-instantiate?to=open"), "New events wait until the gate composer is open")
	shows(t, b.get(t, "/gates/composer?to=open"), "live events are parked there")
}

func TestDeadLettersAreRetriedAndDropped(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	late := uuid.New()
	events := b.insert(t, late, "a", "b", "c")
	for _, event := range events {
		b.waitState(t, event, "dead")
	}
	ids := map[string]string{} // by suffix
	rows, err := b.db.Pool.Query(t.Context(), "SELECT d.id, d.event ->> 'instance_key_suffix' FROM iu_outbox.dead_letter AS d")
	require.NoError(t, err)
	for rows.Next() {
		var id int64
		var suffix string
		require.NoError(t, rows.Scan(&id, &suffix))
		ids[suffix] = strconv.FormatInt(id, 10)
	}
	require.NoError(t, rows.Err())

	page := b.get(t, "/dead-letters?status=template_not_found")
	shows(t, page, "Retry all 3 that match")
	shows(t, page, ">a</a><small>order.placed</small>")
	shows(t, page, "template "+late.String()+" does not exist")
	require.NotContains(t, b.get(t, "/dead-letters?status=template_not_found", asViewer), "Retry")

	shows(t, b.get(t, "/dead-letters/drop?status=template_not_found&id="+ids["c"]), "permanently deletes <strong>dead letter "+ids["c"])
	b.done(t, b.post("/dead-letters/drop", url.Values{"id": {ids["c"]}, "status": {"template_not_found"}}),
		"otto dropped 1 dead letter of template_not_found.")
	gone := b.post("/dead-letters/drop", url.Values{"id": {ids["c"]}})
	require.Equal(t, http.StatusConflict, gone.Code)

	// The missing template is created with the id that the events name.
	b.db.Exec(t, "INSERT INTO public.iu_piece_collection (id, collection_key, created_by) VALUES ($1, 'late', 'test')", late)
	b.db.Exec(t, `INSERT INTO public.iu_piece_membership (collection_id, piece_id, position)
		SELECT $1, m.piece_id, m.position FROM public.iu_piece_membership AS m WHERE m.collection_id = $2`, late, b.template)
	b.db.Exec(t, "SELECT public.fn_iu_collection_mark_template($1, 'test')", late)
	b.done(t, b.post("/dead-letters/retry", url.Values{"id": {ids["a"]}}), "otto retried 1 dead letter.")
	b.waitState(t, events[0], "done")
	b.done(t, b.post("/dead-letters/retry", url.Values{"all": {"1"}, "status": {"template_not_found"}}),
		"otto retried 1 dead letter of template_not_found.")
	b.waitState(t, events[1], "done")
	shows(t, b.get(t, "/dead-letters"), "There are no dead letters")
}

func TestARollbackIsConfirmedByTheActorsName(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	events := b.insert(t, b.template, "a", "b")
	b.waitAnnounced(t, 2)
	b.waitCompleted(t, 2)
	b.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mailer', epoch, 1 FROM iu_outbox.emission_counter")

	page := b.get(t, "/rollback?actor="+url.QueryEscape("shop <1>"))
	for _, says := range []string{
		"<dd>6</dd>", "<strong>2 were announced</strong>", "mailer</a> received <b>1</b>", "Roll back 2 instances", "tpl-inst:auto:a",
	} {
		shows(t, page, says)
	}
	require.NotContains(t, b.get(t, "/rollback?actor="+url.QueryEscape("shop <1>"), asViewer), `name="confirm"`)

	form := url.Values{"actor": {"shop <1>"}, "instances": {"2"}, "confirm": {"shop 1"}}
	wrong := b.post("/rollback", form)
	require.Equal(t, http.StatusBadRequest, wrong.Code)
	shows(t, wrong.Body.String(), "type the actor&#39;s name exactly")
	form.Set("confirm", "shop <1>")
	form.Set("instances", "1")
	changed := b.post("/rollback", form)
	require.Equal(t, http.StatusConflict, changed.Code)
	shows(t, changed.Body.String(), "the dry run showed 1 instances, and there are 2 now")
	b.waitState(t, events[0], "done")
	require.Empty(t, b.audit(t))

	form.Set("instances", "2")
	b.done(t, b.post("/rollback", form), "otto rolled back shop &lt;1&gt;: 2 instances deleted, 2 of them had been announced.")
	shows(t, b.find(t, events[0].String()), ">rolled back</span>")
	none := b.post("/rollback", form)
	require.Equal(t, http.StatusConflict, none.Code)
	shows(t, none.Body.String(), "this actor has no instances")
	require.Len(t, b.audit(t), 1)
}

func TestARollbackOfWhatIsUsedElsewhereIsBlocked(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.OpenGates(t)
	b.insert(t, b.template, "a")
	b.waitAnnounced(t, 1)
	b.db.Exec(t, "SELECT public.fn_iu_collection_mark_template(instance_collection_id, 'test') FROM iu_outbox.emission")
	page := b.get(t, "/rollback?actor="+url.QueryEscape("shop <1>"))
	shows(t, page, "Why it is not possible")
	shows(t, page, "iu_collection_template_registry")
	w := b.post("/rollback", url.Values{"actor": {"shop <1>"}, "instances": {"1"}, "confirm": {"shop <1>"}})
	require.Equal(t, http.StatusConflict, w.Code)
	shows(t, w.Body.String(), "instances are used elsewhere")
	require.Empty(t, b.audit(t))
}

// changes are the paths of all requests that change something.
var changes = []string{
	"/rollback/cancel", "/templates/letter/mark", "/test-event",
	"/scaleouts/pause", "/scaleouts/cancel", "/gates/composer", "/dead-letters/retry", "/dead-letters/drop", "/rollback",
	"/events/change", "/queues/events", "/consumers/a/reset", "/consumers/a/delete", "/consumers/a/dead-letters/replay",
	"/consumers/a/dead-letters/drop", "/riverui/api/jobs/cancel",
}

func TestThePagesChangeNothingForWhoMayNot(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	forms := map[string]url.Values{
		"/gates/composer": {"to": {"open"}}, "/scaleouts/pause": {"to": {"pause"}}, "/scaleouts/cancel": {"prefix": {"a"}, "expect": {"1"}},
		"/dead-letters/retry": {"id": {"1"}}, "/dead-letters/drop": {"id": {"1"}},
		"/rollback": {"actor": {"a"}, "instances": {"1"}, "confirm": {"a"}},
	}
	for _, path := range changes {
		for name, try := range map[string]struct {
			change func(*http.Request)
			status int
			says   string
		}{
			"viewer":       {asViewer, http.StatusForbidden, "vera is a viewer and cannot change anything"},
			"nobody":       {func(r *http.Request) { r.Header.Del("Authorization") }, http.StatusUnauthorized, "Sign in"},
			"cross-origin": {with("Sec-Fetch-Site", "cross-site"), http.StatusForbidden, "comes from another site"},
			"other origin": {func(r *http.Request) {
				r.Header.Del("Sec-Fetch-Site")
				r.Header.Set("Origin", "http://127.0.0.1:9999")
			}, http.StatusForbidden, "comes from another site"},
		} {
			w := b.post(path, forms[path], try.change)
			require.Equal(t, try.status, w.Code, "%s %s", path, name)
			require.Contains(t, strings.ToLower(w.Body.String()), strings.ToLower(try.says), "%s %s", path, name)
		}
	}
	require.Empty(t, b.audit(t))
	require.NotContains(t, b.get(t, "/"), "/gates/composer?to=close", "it is closed as before")
}

func TestWrongInputGetsASentence(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	long := strings.Repeat("x", 2<<20)
	for _, try := range []struct {
		method, path string
		form         url.Values
		status       int
		says         string
	}{
		{http.MethodGet, "/gates/none?to=open", nil, http.StatusNotFound, "There is no gate none"},
		{http.MethodGet, "/gates/composer", nil, http.StatusBadRequest, "whether to open or to close"},
		{http.MethodPost, "/gates/composer", url.Values{"to": {"ajar"}}, http.StatusBadRequest, "whether to open or to close"},
		{http.MethodPost, "/gates/composer", url.Values{"to": {long}}, http.StatusRequestEntityTooLarge, "longer than"},
		{http.MethodGet, "/dead-letters?after=x", nil, http.StatusBadRequest, "must be the number of a dead letter"},
		{http.MethodGet, "/dead-letters?before=9223372036854775807", nil, http.StatusOK, "There are no dead letters"},
		{http.MethodGet, "/consumers/a%00b", nil, http.StatusNotFound, "There is no consumer a?b"},
		{http.MethodGet, "/consumers/%ff", nil, http.StatusNotFound, "There is no consumer"},
		{http.MethodGet, "/dead-letters?since=soon", nil, http.StatusBadRequest, "Since is "},
		{http.MethodGet, "/dead-letters?template=none", nil, http.StatusBadRequest, "There is no template none"},
		{http.MethodGet, "/dead-letters?actor=" + strings.Repeat("x", 1001), nil, http.StatusBadRequest, "Actor is not a text"},
		{http.MethodGet, "/dead-letters?status=a'b", nil, http.StatusBadRequest, "is not a status"},
		{http.MethodPost, "/dead-letters/retry", nil, http.StatusBadRequest, "Say which dead letters"},
		{http.MethodPost, "/dead-letters/retry", url.Values{"id": {"-1"}}, http.StatusBadRequest, "There is no dead letter -1"},
		{http.MethodPost, "/dead-letters/retry", url.Values{"id": {"99999999999999999999"}}, http.StatusBadRequest, "There is no dead letter"},
		{http.MethodPost, "/dead-letters/retry", url.Values{"id": {"7"}}, http.StatusConflict, "No dead letter was retried"},
		{http.MethodGet, "/dead-letters/retry", nil, http.StatusMethodNotAllowed, "GET is not allowed here"},
		{http.MethodGet, "/dead-letters/drop", nil, http.StatusBadRequest, "Say which dead letters"},
		{http.MethodPost, "/dead-letters/drop", url.Values{"status": {"; DROP"}}, http.StatusBadRequest, "; DROP is not a status"},
		{http.MethodGet, "/rollback?actor=+", nil, http.StatusBadRequest, "must not be blank"},
		{http.MethodGet, "/rollback?actor=a%00b", nil, http.StatusBadRequest, "is not valid text"},
		{http.MethodGet, "/rollback?actor=%ff", nil, http.StatusBadRequest, "is not valid text"},
		{http.MethodGet, "/rollback?actor=" + strings.Repeat("y", 201), nil, http.StatusBadRequest, "at most 200 characters"},
		{http.MethodPost, "/rollback", url.Values{"actor": {"a"}}, http.StatusBadRequest, "Check the dry run first"},
		{http.MethodPost, "/rollback", nil, http.StatusBadRequest, "must not be blank"},
		{http.MethodGet, "/audit?before=0", nil, http.StatusBadRequest, "must be the number of an audit line"},
		{http.MethodGet, "/trace?q=nothing", nil, http.StatusNotFound, "Nothing is known of"},
		{http.MethodGet, "/trace?q=" + uuid.NewString(), nil, http.StatusNotFound, "Nothing is known of"},
		{http.MethodGet, "/trace?q=%00", nil, http.StatusBadRequest, "What to trace is"},
		{http.MethodGet, "/trace?q=" + strings.Repeat("z", 301), nil, http.StatusBadRequest, "What to trace is"},
		{http.MethodGet, "/?done=x", nil, http.StatusOK, "To set up"},
		{http.MethodGet, "/?done=77", nil, http.StatusOK, "To set up"},
		{http.MethodGet, "/assets/none.css", nil, http.StatusNotFound, "There is nothing at"},
		{http.MethodGet, "/%3Cscript%3E", nil, http.StatusNotFound, "&lt;script&gt;"},
	} {
		w := serve(b.handler, try.method, try.path, strings.NewReader(try.form.Encode()), asOperator, with("Accept", "text/html"),
			with("Content-Type", "application/x-www-form-urlencoded"))
		require.Equal(t, try.status, w.Code, "%s %.100s: %.300s", try.method, try.path, w.Body)
		shows(t, w.Body.String(), try.says, "%s %.100s", try.method, try.path)
	}
	multipart := b.post("/rollback", nil, with("Content-Type", "application/x-www-form-urlencoded; charset=%%%"))
	require.Equal(t, http.StatusBadRequest, multipart.Code)
	require.Empty(t, b.audit(t))
}

func TestTheAuditIsReadPageByPage(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.Exec(t, `INSERT INTO iu_outbox.audit (actor, action, detail)
		SELECT 'ann', CASE n % 3 WHEN 0 THEN 'job.cancel' WHEN 1 THEN 'queue.pause' ELSE 'something.else' END,
			pg_catalog.jsonb_build_object('ids', ARRAY[n::text], 'queue', 'events') FROM generate_series(1, 150) AS n`)
	first := b.get(t, "/audit")
	shows(t, first, "ann cancelled job 150")
	shows(t, first, "ann paused the queue events")
	shows(t, first, "ann did something.else")
	shows(t, first, "/audit?before=51")
	second := b.get(t, "/audit?before=51")
	shows(t, second, "ann cancelled job 48")
	require.NotContains(t, second, "Older ones")
}

func TestTheAuditSaysWhatCommandsDid(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.db.Exec(t, `INSERT INTO iu_outbox.audit (actor, action, detail) VALUES
		('ann', 'consumer.reset', '{"consumer": "mail", "from": "00000000-7", "to": "00000000-3"}'),
		('ann', 'consumer.delete', '{"consumer": "mail", "force": true}'),
		('ann', 'consumer.replay', '{"consumer": "mail", "count": 2}'),
		('ann', 'consumer.drop', '{"consumer": "mail", "count": 1}'),
		('ann', 'scaleout.cancel', '{"prefix": "spring", "count": 1000}'),
		('ann', 'scaleout.cancel', '{"prefix": "autumn"}')`)
	page := b.get(t, "/audit")
	for _, says := range []string{
		"ann moved the consumer mail to 00000000-3", "ann deleted the consumer mail", "ann replayed 2 dead letters of the consumer mail",
		"ann dropped 1 dead letter of the consumer mail", "jobs of the scale-out spring", "ann cancelled 0 jobs of the scale-out autumn",
	} {
		shows(t, page, says)
	}
}
