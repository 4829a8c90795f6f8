package webui_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
)

func (b operating) scaleOut(t *testing.T, prefix string, count int) {
	t.Helper()
	_, err := scaleout.Start(t.Context(), scaleout.Config{
		Pool: b.db.Pool, Template: b.template, Prefix: prefix, Count: count, Actor: "bulk", By: "ann",
	})
	require.NoError(t, err)
}

func TestScaleoutsAreListedPausedAndCancelled(t *testing.T) {
	t.Parallel()
	b := setupOperating(t) // the gates are closed: the jobs are parked
	shows(t, b.get(t, "/scaleouts"), "There are no scale-outs.")
	b.db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_river.river_queue WHERE name = 'scaleout')")
	b.scaleOut(t, "spring & summer", 1200)
	b.scaleOut(t, "autumn", 3)

	b.done(t, b.post("/scaleouts/pause", url.Values{"to": {"pause"}}), "otto paused the queue scaleout.")
	page := b.get(t, "/scaleouts")
	for _, says := range []string{
		"All scale-outs are paused", "The gate composer is closed", "Resume all scale-outs", "spring &amp; summer", "0 of 1,200", "by ann",
		`href="/templates/letter"`, `href="/scaleouts/cancel?prefix=spring%20%26%20summer"`,
	} {
		shows(t, page, says)
	}
	viewer := b.get(t, "/scaleouts", asViewer)
	require.NotContains(t, viewer, "/scaleouts/cancel")
	require.NotContains(t, viewer, "/scaleouts/pause")
	b.done(t, b.post("/scaleouts/pause", url.Values{"to": {"resume"}}), "otto resumed the queue scaleout.")

	// Wait until the jobs are parked, because running jobs are not cancelled.
	b.db.WaitFor(t, patience, "SELECT count(*) = 1203 FROM iu_river.river_job WHERE metadata ? 'parked'")
	shows(t, b.get(t, "/scaleouts/cancel?prefix=spring+%26+summer"), "<strong>1,200 jobs</strong> of the scale-out <b>spring &amp; summer</b>")
	require.NotContains(t, b.get(t, "/scaleouts/cancel?prefix=autumn", asViewer), `method="post"`)
	form := url.Values{"prefix": {"spring & summer"}, "expect": {"1200"}}
	untyped := b.post("/scaleouts/cancel", form)
	require.Equal(t, http.StatusBadRequest, untyped.Code)
	shows(t, untyped.Body.String(), "type the prefix exactly")
	form.Set("confirm", "spring & summer")
	form.Set("expect", "1199")
	more := b.post("/scaleouts/cancel", form)
	require.Equal(t, http.StatusConflict, more.Code)
	shows(t, more.Body.String(), "1199 jobs were shown, and 1200 wait now")
	form.Set("expect", "1200")
	b.done(t, b.post("/scaleouts/cancel", form), "1,200 jobs of the scale-out spring &amp; summer cancelled.")
	shows(t, b.get(t, "/scaleouts"), "1,200 cancelled")
	shows(t, b.get(t, "/scaleouts/cancel?prefix=spring+%26+summer"), "is waiting any more")
	shows(t, b.get(t, "/audit"), "cancelled 1,000 jobs of the scale-out spring &amp; summer")

	require.Equal(t, http.StatusNotFound, serve(b.handler, http.MethodGet, "/scaleouts/cancel?prefix=none", nil, asOperator).Code)
	require.Equal(t, http.StatusBadRequest, b.post("/scaleouts/pause", url.Values{"to": {"stop"}}).Code)
	require.Equal(t, http.StatusBadRequest, b.post("/scaleouts/cancel", url.Values{"prefix": {"autumn"}}).Code)
}

func TestWhatIsStillToComeOfAnActorIsCancelled(t *testing.T) {
	t.Parallel()
	b := setupOperating(t) // the gates are closed: the events are parked
	for _, event := range b.insert(t, b.template, "a", "b", "c") {
		b.waitState(t, event, "parked")
	}
	actor := "?actor=" + url.QueryEscape("shop <1>")
	page := b.get(t, "/rollback"+actor)
	shows(t, page, "<strong>3 events</strong> of shop &lt;1&gt; are still to be composed")
	shows(t, page, "Nothing to roll back: the actor “shop &lt;1&gt;” has no instances.")
	require.NotContains(t, b.get(t, "/rollback"+actor, asViewer), "/rollback/cancel")
	shows(t, b.get(t, "/rollback/cancel"+actor), "This cancels <strong>3 jobs</strong>")
	require.NotContains(t, b.get(t, "/rollback/cancel"+actor, asViewer), `method="post"`)

	form := url.Values{"actor": {"shop <1>"}, "expect": {"2"}}
	more := b.post("/rollback/cancel", form)
	require.Equal(t, http.StatusConflict, more.Code)
	shows(t, more.Body.String(), "2 jobs were shown, and there are 3 now")
	form.Set("expect", "3")
	b.done(t, b.post("/rollback/cancel", form), "otto cancelled 3 jobs of shop &lt;1&gt;.")
	shows(t, b.get(t, "/rollback/cancel"+actor), "No job of shop &lt;1&gt; waits.")
	require.NotContains(t, b.get(t, "/rollback"+actor), "still to be composed")
	letters, err := operate.CountDeadLetters(t.Context(), b.db.Pool, operate.Selection{})
	require.NoError(t, err)
	require.Zero(t, letters, "what somebody cancelled needs nobody's attention")
	require.Equal(t, http.StatusBadRequest, serve(b.handler, http.MethodGet, "/rollback/cancel", nil, asOperator).Code)
	require.Equal(t, http.StatusBadRequest, b.post("/rollback/cancel", url.Values{"actor": {"a"}}).Code)
}
