package webui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// ask requests a page as an operator's browser does.
func (b operating) ask(path string, changes ...func(*http.Request)) *httptest.ResponseRecorder {
	return serve(b.handler, http.MethodGet, path, nil, append([]func(*http.Request){asOperator, with("Accept", "text/html")}, changes...)...)
}

// eventful returns pages with the events done-1 and done-2, parked-1 to parked-3 behind a closed gate, and dead-1 to dead-3.
func eventful(t *testing.T) operating {
	t.Helper()
	b := setupOperating(t)
	b.db.OpenGates(t)
	for _, id := range b.insert(t, uuid.New(), "dead-1", "dead-2", "dead-3") {
		b.waitState(t, id, "dead")
	}
	for _, suffix := range []string{"done-1", "done-2"} { // one after the other, because all instances of a batch have the same time
		b.waitState(t, b.insert(t, b.template, suffix)[0], "done")
	}
	b.waitAnnounced(t, 2)
	b.db.Exec(t, "SELECT iu_outbox.set_gate('auto-instantiate', false, 'test')")
	for _, id := range b.insert(t, b.template, "parked-1", "parked-2", "parked-3") {
		b.waitState(t, id, "parked")
	}
	return b
}

func TestAllEventsAreListedAndFiltered(t *testing.T) {
	t.Parallel()
	b := eventful(t)
	page := b.get(t, "/events")
	for _, suffix := range []string{"done-1", "done-2", "parked-1", "parked-2", "parked-3", "dead-1", "dead-2", "dead-3"} {
		shows(t, page, ">"+suffix+"</a>")
	}
	require.Less(t, strings.Index(page, ">parked-3<"), strings.Index(page, ">done-1<"), "the latest first")
	shows(t, page, "/events?state=dead")
	shows(t, page, "Retry selected…")
	require.NotContains(t, page, `rel="next"`)

	listed := regexp.MustCompile(`(?s)<th scope="row">.*?>([a-z]+-\d)<`)
	for query, want := range map[string]string{
		"state=parked":                         "parked-3 parked-2 parked-1",
		"state=dead&suffix=dead-1":             "dead-1",
		"template=letter&state=done":           "done-2 done-1",
		"actor=shop+%3C1%3E&suffix=done":       "done-2 done-1",
		"type=order.placed&suffix=parked-2":    "parked-2",
		"since=1h&suffix=parked-1":             "parked-1",
		"until=1h":                             "",
		"actor=nobody":                         "",
		"template=" + b.template.String() + "": "parked-3 parked-2 parked-1 done-2 done-1",
	} {
		page := b.get(t, "/events?"+query)
		var got []string
		for _, match := range listed.FindAllStringSubmatch(page, -1) {
			got = append(got, match[1])
		}
		require.Equal(t, want, strings.Join(got, " "), query)
		if want == "" {
			shows(t, page, "No event matches.")
		}
	}
	viewer := b.get(t, "/events", asViewer)
	shows(t, viewer, ">dead-1</a>")
	require.NotContains(t, viewer, "checkbox", "a viewer is offered nothing")
	for query, says := range map[string]string{
		"state=lost": "Lost is not a state of events", "since=yesterday": "Since is yesterday", "template=leter": "There is no template leter",
		"from=x": "X is not a position", "actor=a%00b": "Actor is not a text",
	} {
		w := b.ask("/events?" + query)
		require.Equal(t, http.StatusBadRequest, w.Code, query)
		shows(t, strings.ToLower(w.Body.String()), strings.ToLower(says), query)
	}
}

func TestEventsArePaged(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	shows(t, b.get(t, "/events"), "There are no events yet.")
	b.db.Exec(t, `
		INSERT INTO iu_outbox.dead_letter (job_id, status, event_id, idempotency_key, event, queue, attempts)
		SELECT 1000000 + i, 'invalid_input', NULL, md5(i::text), jsonb_build_object('instance_key_suffix', 'n-' || i), 'events', 1
		FROM generate_series(1, 120) AS i`)
	seen := map[string]bool{}
	path, pages := "/events", 0
	link := regexp.MustCompile(`rel="(next|prev)" href="([^"]*)"`)
	suffix := regexp.MustCompile(`>(n-\d+)</a>`)
	var newer string
	for path != "" {
		page := b.get(t, path)
		pages++
		for _, match := range suffix.FindAllStringSubmatch(page, -1) {
			require.False(t, seen[match[1]], match[1])
			seen[match[1]] = true
		}
		path = ""
		for _, match := range link.FindAllStringSubmatch(page, -1) {
			to := strings.ReplaceAll(match[2], "&amp;", "&")
			if match[1] == "next" {
				path = to
			} else {
				newer = to
			}
		}
		require.Equal(t, pages == 1, strings.Contains(page, "data-live="), "only the first page is live")
	}
	require.Len(t, seen, 120)
	require.Equal(t, 3, pages)
	shows(t, b.get(t, newer), ">n-70</a>")
}

func TestManyEventsAreChangedAtOnce(t *testing.T) {
	t.Parallel()
	b := eventful(t)
	pick := regexp.MustCompile(`name="id" value="([lj]\d+)"`)
	picks := func(query string) (all []string) {
		for _, match := range pick.FindAllStringSubmatch(b.get(t, "/events?"+query), -1) {
			all = append(all, match[1])
		}
		return all
	}

	// The selected events are changed. The filter is kept.
	dead, parked := picks("state=dead"), picks("state=parked")
	require.Len(t, dead, 3)
	require.Len(t, parked, 3)
	ask := b.get(t, "/events/change?do=cancel&state=parked&id="+parked[0]+"&id="+dead[0])
	shows(t, ask, "cancels <strong>1 event</strong>")
	w := b.post("/events/change", url.Values{"do": {"cancel"}, "state": {"parked"}, "id": {parked[0]}})
	require.Contains(t, w.Header().Get("Location"), "/events?state=parked&done=")
	b.done(t, w, "otto cancelled job ")
	require.Len(t, picks("state=parked"), 2)
	b.done(t, b.post("/events/change", url.Values{"do": {"drop"}, "id": {dead[2]}}), "otto dropped 1 dead letter.")
	require.Equal(t, http.StatusConflict, b.post("/events/change", url.Values{"do": {"drop"}, "id": {dead[2]}}).Code)

	// All matching events are changed, if there are no more than were confirmed.
	shows(t, b.get(t, "/events/change?do=all-cancel&suffix=parked"), "<strong>2 events that have not been composed yet (suffix parked)</strong>")
	all := url.Values{"do": {"all-cancel"}, "suffix": {"parked"}, "expect": {"1"}}
	grown := b.post("/events/change", all)
	require.Equal(t, http.StatusConflict, grown.Code)
	shows(t, grown.Body.String(), "Nothing was changed: more than 1 match now")
	all.Set("expect", "2")
	b.done(t, b.post("/events/change", all), "otto cancelled jobs ")
	require.Empty(t, picks("state=parked"))
	shows(t, b.get(t, "/events/change?do=all-cancel&suffix=parked"), "No event is waiting to be composed among these.")
	b.done(t, b.post("/events/change", url.Values{"do": {"all-retry"}, "state": {"dead"}, "expect": {"2"}}), "otto retried 2 dead letters.")

	for _, wrong := range []url.Values{
		{}, {"do": {"eat"}}, {"do": {"drop"}}, {"do": {"drop"}, "id": {"7"}}, {"do": {"drop"}, "id": {"l0"}}, {"do": {"all-drop"}},
		{"do": {"all-drop"}, "expect": {"10001"}}, {"do": {"all-drop"}, "state": {"x"}, "expect": {"1"}},
	} {
		require.Equal(t, http.StatusBadRequest, b.post("/events/change", wrong).Code, wrong)
	}
	require.Equal(t, http.StatusForbidden, b.post("/events/change", all, asViewer).Code)
	shows(t, b.get(t, "/events/change?do=all-drop", asViewer), "A viewer cannot change anything")
}

func TestASearchLeadsToTheEvent(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	require.Equal(t, "/events", b.ask("/trace").Header().Get("Location"))
	other := b.db.Template(t, "card", 1)
	event := uuid.MustParse("7d1f6a52-3c5e-4a53-9f0e-2b8f0c1d4e61")
	for i, template := range []uuid.UUID{b.template, other} {
		b.db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor, available_at)
			VALUES ($1, 'order.placed', $2, $3, 'ann', now() + interval '1 day')`, event, template, fmt.Sprintf("two-%d", i))
	}
	for _, reference := range []string{event.String(), "7d1f6a52"} {
		several := b.ask("/trace?q=" + reference)
		require.Equal(t, http.StatusOK, several.Code)
		shows(t, several.Body.String(), "2 events match", reference)
		shows(t, several.Body.String(), ">two-0</a>", reference)
	}
	one := b.ask("/trace?q=two-1")
	require.Equal(t, http.StatusSeeOther, one.Code)
	shows(t, b.get(t, one.Header().Get("Location")), "card</a>, two-1")
	none := b.ask("/trace?q=" + uuid.NewString())
	require.Equal(t, http.StatusNotFound, none.Code)
	shows(t, none.Body.String(), "the beginning of an id")
	require.Equal(t, http.StatusNotFound, b.ask("/events/none").Code)
}

func TestAnEventIsRepairedWhereItIsShown(t *testing.T) {
	t.Parallel()
	b := eventful(t)
	at := func(suffix string) string { return b.ask("/trace?q=" + suffix).Header().Get("Location") }

	dead := b.get(t, at("dead-1"))
	for _, says := range []string{
		"Became a dead letter", ">failed</span>", `data-copy="iuworker dead-letters retry --event`, ">Retry</button>", ">Drop…</button>", "not reached",
	} {
		shows(t, dead, says)
	}
	require.NotContains(t, b.get(t, at("dead-1"), asViewer), ">Retry</button>")
	letter := regexp.MustCompile(`name="id" value="(l\d+)"`).FindStringSubmatch(dead)[1]
	key := strings.TrimPrefix(at("dead-1"), "/events/")
	w := b.post("/events/change", url.Values{"do": {"retry"}, "id": {letter}, "event": {key}})
	require.Contains(t, w.Header().Get("Location"), "/events/"+key+"?done=")

	parked := b.get(t, at("parked-1"))
	for _, says := range []string{
		"Parked at the gate auto-instantiate", "parked for ", `href="/gates/auto-instantiate?to=open"`, `data-copy="iuworker gate open auto-instantiate"`,
		">Cancel…</button>",
	} {
		shows(t, parked, says)
	}

	// The page says that an event is a duplicate.
	b.db.OpenGates(t)
	b.db.Exec(t, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, actor)
		SELECT l.event_id, l.event_type, l.template_collection_id, 'done-1', 'shop <1>' FROM public.iu_auto_instantiate_event_log AS l
		JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id WHERE c.collection_key = 'tpl-inst:auto:done-1'`)
	b.db.WaitFor(t, patience, `SELECT EXISTS (SELECT FROM iu_river.river_job WHERE metadata #>> '{output,status}' = 'idempotent_replay')`)
	shows(t, b.get(t, at("done-1")), "Duplicate: accepted and ignored")
}
