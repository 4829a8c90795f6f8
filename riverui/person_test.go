//go:build browser

package webui_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// site is a real worker with its pages, and a browser that shows them.
type site struct {
	operating
	*browser

	address string
}

func visit(t *testing.T, user, password string, configure ...func(*webui.Config)) site {
	t.Helper()
	return browse(t, setupOperating(t, append(configure, func(cfg *webui.Config) { cfg.BasePath = "/iu" })...), user, password)
}

// browse opens the pages in a browser.
func browse(t *testing.T, b operating, user, password string) site {
	t.Helper()
	s := site{operating: b}
	s.address, _ = listen(t, s.handler, "127.0.0.1:0")
	s.browser = newBrowser(t)
	in, err := url.Parse(s.address + "/")
	require.NoError(t, err)
	in.User = url.UserPassword(user, password)
	s.open(in.String())
	s.open(s.address + "/") // the browser remembers the credentials, so the address no longer needs them
	return s
}

// accessible requires that the page can be used with a screen reader and a keyboard, and that it fits a phone.
func (s site) accessible(t *testing.T) {
	t.Helper()
	for expression, what := range map[string]string{
		`document.documentElement.lang === "en"`:                                                                           "a language",
		`document.querySelectorAll("h1").length === 1`:                                                                     "one heading of the first level",
		`document.querySelector("main") && document.querySelector("nav[aria-label]")`:                                      "landmarks",
		`[...document.querySelectorAll("input:not([type=hidden])")].every(i => i.labels.length)`:                           "a label for each field",
		`[...document.querySelectorAll("a,button")].every(e => e.textContent.trim())`:                                      "a name for each link and button",
		`[...document.querySelectorAll("thead th")].every(e => e.scope === "col")`:                                         "scopes of headings",
		`new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size === document.querySelectorAll("[id]").length`: "ids that are one",
		`[...document.querySelectorAll("svg:not([aria-hidden])")].every(e => e.getAttribute("aria-label"))`:                "a text for each chart",
	} {
		require.Equal(t, true, s.value("!!("+expression+")"), what)
	}
	s.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": true})
	require.Equal(t, true, s.value("document.documentElement.scrollWidth <= 360"), "it fits a phone")
	s.call("Emulation.clearDeviceMetricsOverride", nil)
}

func TestAnOperatorWorksWithThePages(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.db.Exec(t, "SELECT iu_outbox.set_gate('composer', true, 'test')")
	events := s.insert(t, s.template, "a", "b", "c")
	wrong := s.insert(t, uuid.New(), "d")
	s.waitState(t, events[2], "parked")
	s.waitState(t, wrong[0], "parked")

	// The numbers appear without a reload. The gate opens, and the parked jobs run.
	s.wait(`document.querySelector(".live [role=status]").innerText === "Live"`)
	s.wait(`document.querySelector("#pipeline").innerText.includes("4 parked")`)
	s.picture("now-parked")
	s.follow(`a[href="/iu/gates/auto-instantiate?to=open"]`)
	require.Contains(t, s.text(), "4 jobs parked at this gate will run at once")
	s.accessible(t)
	s.follow("form button.act")
	require.Contains(t, s.text(), "otto opened the gate auto-instantiate; 4 parked jobs run now.")
	s.waitAnnounced(t, 3)
	s.wait(`document.querySelector("#needs").innerText.includes("1 dead letter of template_not_found")`)
	s.wait(`document.querySelector("#pipeline").innerText.includes("open") && !document.querySelector("#pipeline").innerText.includes("closed")`)
	s.accessible(t)
	s.picture("now")

	// The missing template is created; its dead letter is retried.
	s.db.Exec(t, `INSERT INTO public.iu_piece_collection (id, collection_key, created_by)
		SELECT template_collection_id, 'late', 'x' FROM iu_outbox.event_state($1)`, wrong[0])
	s.db.Exec(t, `INSERT INTO public.iu_piece_membership (collection_id, piece_id, position)
		SELECT c.id, m.piece_id, m.position FROM public.iu_piece_membership AS m, public.iu_piece_collection AS c
		WHERE m.collection_id = $1 AND c.collection_key = 'late'`, s.template)
	s.db.Exec(t, "SELECT public.fn_iu_collection_mark_template(id, 'x') FROM public.iu_piece_collection WHERE collection_key = 'late'")
	s.follow(`#needs a[href="/iu/dead-letters"]`)
	s.accessible(t)
	s.picture("dead-letters")
	s.follow("td button[name=one]")
	require.Contains(t, s.text(), "otto retried 1 dead letter.")
	s.waitState(t, wrong[0], "done")
	s.waitAnnounced(t, 4)

	// Find an event by its id, with the keyboard.
	s.enter("#find", events[0].String())
	s.value("window.here = true")
	s.key("Enter", 13)
	s.call("Input.dispatchKeyEvent", map[string]any{"type": "char", "text": "\r"})
	s.wait(`!window.here && document.readyState === "complete" && document.querySelector("article")`)
	require.Contains(t, s.text(), "tpl-inst:auto:a")
	s.accessible(t)
	s.picture("trace")

	// Check a rollback, confirm it by name, and execute it.
	s.follow(`article a[href^="/iu/rollback"]`)
	require.Contains(t, s.text(), "4 were announced")
	s.accessible(t)
	s.picture("rollback")
	s.enter("#confirm", "shop <1>")
	s.follow(".confirm button")
	require.Contains(t, s.text(), "otto rolled back shop <1>: 4 instances deleted, 4 of them had been announced.")
	s.follow(`nav a[href="/iu/audit"]`)
	require.Contains(t, s.text(), "otto opened the gate auto-instantiate")
	s.accessible(t)
	s.picture("audit")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestRiverUIListsTheJobs(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	events := s.insert(t, s.template, "a")
	s.waitState(t, events[0], "parked")
	s.open(s.address + "/riverui/jobs?state=scheduled")
	s.wait(`document.body.innerText.includes("auto_instantiate")`)
	s.picture("river-jobs")
	s.open(s.address + "/riverui/jobs/1")
	s.wait(`document.body.innerText.includes("tpl-inst") || document.body.innerText.includes("instance_key_suffix")`)
	s.picture("river-job")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestAViewerSeesAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := visit(t, "vera", viewerPassword)
	s.wait(`document.querySelector(".live [role=status]").innerText === "Live"`)
	require.Contains(t, s.text(), "vera, viewer")
	require.Equal(t, false, s.value(`!!document.querySelector("main a[href*='/gates/'], main form")`), "nothing to change is offered")
	for _, change := range []string{"/gates/composer", "/dead-letters/retry", "/rollback", "/riverui/api/jobs/cancel"} {
		require.EqualValues(t, 403, s.value(fmt.Sprintf(`fetch(%q, {method: "POST", body: "to=open"}).then(r => r.status)`, "/iu"+change)), change)
	}
	require.Empty(t, s.audit(t))
}

func TestThePagesAreForKeyboardsAndTheDark(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.wait(`document.querySelector(".live [role=status]").innerText === "Live"`)
	s.key("Tab", 9)
	require.Equal(t, "To the content", s.value("document.activeElement.innerText"))
	require.Equal(t, true, s.value("document.activeElement.getBoundingClientRect().left >= 0"), "what has the focus is seen")

	// A section is not updated while one of its elements has the focus.
	s.wait(`document.querySelector("#pipeline .gate a")`)
	s.value(`document.querySelector("#pipeline .gate a").focus()`)
	s.db.OpenGates(t)
	s.wait(`!document.querySelector("#needs").innerText.includes("gate open")`)
	require.Equal(t, true, s.value(`document.querySelector("#pipeline").contains(document.activeElement)`))
	require.Contains(t, s.value(`document.querySelector("#pipeline").innerText`), "closed")
	s.value(`document.activeElement.blur()`)
	s.wait(`!document.querySelector("#pipeline").innerText.includes("closed")`)

	s.value(`document.querySelector(".live button").click()`)
	s.wait(`document.querySelector(".live [role=status]").innerText === "Paused"`)

	light := s.value("getComputedStyle(document.body).backgroundColor")
	s.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}})
	require.NotEqual(t, light, s.value("getComputedStyle(document.body).backgroundColor"))
	s.picture("dark")
}

func TestThePagesWorkWithoutTheirScript(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	s.open(s.address + "/")
	require.Contains(t, s.text(), "UTC", "moments stand as they are")
	require.Equal(t, false, s.value(`document.querySelector(".live").offsetParent !== null`), "nothing that needs the script is shown")
	s.follow(`a[href="/iu/gates/composer?to=open"]`)
	s.follow("form button.act")
	require.Contains(t, s.text(), "otto opened the gate composer.")
}
