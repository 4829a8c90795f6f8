//go:build browser

package webui_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// seenPage is a page that must be usable in every state of the database.
type seenPage struct {
	path, name string
	asks       bool // it asks for confirmation of a change: operators only
	named      bool // it shows something that only the busy database has
}

// everyPage lists the pages of the navigation, pages that these link to, and pages that ask for confirmation.
var everyPage = []seenPage{
	{path: "/", name: "now"}, {path: "/events", name: "events"}, {path: "/dead-letters", name: "dead-letters"},
	{path: "/consumers", name: "consumers"}, {path: "/scaleouts", name: "scaleouts"}, {path: "/templates", name: "templates"},
	{path: "/workers", name: "workers"}, {path: "/health", name: "health"}, {path: "/audit", name: "audit"},
	{path: "/rollback", name: "rollback"}, {path: "/settings", name: "settings"}, {path: "/stream", name: "stream"},
	{path: "/gates/composer?to=open", name: "gate", asks: true}, {path: "/queues/events?to=pause", name: "queue", asks: true},
	{path: "/trace?q=nothing-like-this", name: "not-found"},
	{path: "/events/d1", name: "event", named: true}, {path: "/events?state=dead", name: "events-dead", named: true},
	{path: "/consumers/search-index", name: "consumer", named: true}, {path: "/templates/gift-card", name: "template", named: true},
	{path: "/rollback?actor=shop", name: "rollback-actor", asks: true, named: true},
	{path: "/rollback/cancel?actor=shop", name: "rollback-cancel", asks: true, named: true},
	{path: "/dead-letters/drop?status=template_not_marked&all=1", name: "dead-letters-drop", asks: true, named: true},
	{path: "/events/change?do=all-cancel&state=parked", name: "events-cancel", asks: true, named: true},
	{path: "/consumers/search-index/reset?to=now", name: "consumer-reset", asks: true, named: true},
	{path: "/consumers/search-index/delete", name: "consumer-delete", asks: true, named: true},
	{path: "/consumers/mailer/dead-letters/drop?all=1", name: "consumer-drop", asks: true, named: true},
	{path: "/scaleouts/cancel?prefix=spring-2026", name: "scaleout-cancel", asks: true, named: true},
	{path: "/templates/invoice/unmark", name: "template-unmark", asks: true, named: true},
}

// faultsScript lists faults of the layout and the usability of the page in this window.
const faultsScript = `(() => {
  const faults = [];
  const phone = innerWidth < 600;
  const say = (what, e) => faults.push(what + ": " + (e ? e.outerHTML.replace(/\s+/g, " ").slice(0, 140) : ""));
  const shut = "details:not([open]) > :not(summary)";
  const all = [...document.querySelectorAll("body *")].filter((e) =>
    !e.closest("svg, .unseen, .skip, " + shut) && e.checkVisibility({ visibilityProperty: true }));
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) say("wider than the window, " + root.scrollWidth);
  for (const e of all) {
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (e.matches(".list thead, .list thead *") && phone) continue;
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!own) continue;
    const scrolled = e.closest(".scroll, pre, .chart-marks, .chart-table");
    if (!scrolled && (box.right > innerWidth + .5 || box.left < -.5)) say("out of the window", e);
    if (["hidden", "clip"].includes(style.overflowX) && e.scrollWidth > e.clientWidth + 1 && !(style.textOverflow === "ellipsis" && e.title)) say("cut off", e);
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) {
      if (getComputedStyle(p).overflowX === "visible") continue;
      if (!scrolled && box.right > p.getBoundingClientRect().right + 1) say("cut off by " + p.tagName + "." + p.className, e);
      break;
    }
    if (parseFloat(style.fontSize) < 11) say("too small to read, " + style.fontSize, e);
  }
  if (phone) for (const table of document.querySelectorAll("main .scroll")) {
    if (table.checkVisibility() && !table.closest(".chart-table") && table.scrollWidth > table.clientWidth + 1) say("a table scrolls sideways", table);
  }
  if (document.querySelectorAll("h1").length !== 1) say("not one h1");
  const count = (selector, good, what) => document.querySelectorAll(selector).forEach((e) => { if (!good(e)) say(what, e); });
  count("input:not([type=hidden]), select, textarea", (e) => e.labels.length || e.getAttribute("aria-label"), "no label");
  count("a, button", (e) => e.textContent.trim() || e.hidden, "no name");
  count("thead th", (e) => e.scope === "col", "no scope");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) say("ids twice: " + ids.filter((id, i) => ids.indexOf(id) !== i));
  const targets = all.filter((e) => e.matches("a[href], button, summary, input:not([type=hidden]), select, textarea"));
  const area = (e) => (e.closest("label") || e).getBoundingClientRect();
  if (phone) for (const e of targets) {
    const box = area(e), inText = getComputedStyle(e).display === "inline" &&
      [...e.parentElement.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim().length > 3);
    if (!inText && (box.height < 24 || box.width < 24)) say("a target of " + Math.round(box.width) + " x " + Math.round(box.height), e);
  }
  for (const chart of document.querySelectorAll(".chart")) {
    const lines = chart.querySelectorAll(".chart-plot .grid"), card = chart.closest(".card, section").getBoundingClientRect();
    if (chart.checkVisibility()) chart.querySelectorAll(".chart-y text").forEach((label, i) => {
      const box = label.getBoundingClientRect(), line = lines[i].getBoundingClientRect();
      if (Math.abs((box.top + box.bottom) / 2 - line.top) > 3) say("not at its line, " + label.textContent, label);
      if (box.left < card.left + 2) say("out of its card, " + label.textContent, label);
    });
  }
  for (const e of targets) if (!e.disabled && e.tabIndex < 0) say("not reached by Tab", e);
  return faults;
})()`

// focusScript lists the elements that show no focus, or are hidden behind a fixed part of the page when focused.
const focusScript = `(() => {
  const faults = [];
  const shut = "details:not([open]) > :not(summary)";
  for (const e of document.querySelectorAll("a[href], button, summary, input:not([type=hidden]), select")) {
    if (e.disabled || e.closest("svg, .skip, " + shut) || !e.checkVisibility({ visibilityProperty: true })) continue;
    e.focus();
    if (document.activeElement !== e) { faults.push("takes no focus: " + e.outerHTML.slice(0, 120)); continue; }
    const style = getComputedStyle(e);
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) faults.push("shows no focus: " + e.outerHTML.slice(0, 120));
    const box = e.getBoundingClientRect();
    const at = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    if (at && !e.contains(at) && !at.contains(e)) {
      const over = at.closest("header, nav.bar");
      if (over && !over.contains(e)) faults.push("focus is hidden: " + e.outerHTML.slice(0, 120));
    }
  }
  document.activeElement.blur();
  scrollTo(0, 0);
  return faults;
})()`

// seen checks the page on a desktop and on a phone, and reports the faults.
func (s site) seen(t *testing.T, name string, contrast bool) {
	t.Helper()
	for _, size := range []struct {
		name          string
		width, height int
	}{{"phone", 390, 844}, {"desktop", 1440, 900}} {
		s.screen(size.width, size.height)
		at := name + ", " + size.name
		assert.Empty(t, s.value(faultsScript), at)
		s.picture(name + "-" + size.name)
		if contrast {
			assert.Empty(t, s.value(contrastScript), "contrast: %s", at)
			s.scheme("dark")
			assert.Empty(t, s.value(contrastScript), "contrast in the dark: %s", at)
			s.picture(name + "-" + size.name + "-dark")
			s.scheme("light")
			s.value(`document.querySelector(".skip").focus()`)
			s.key("Tab", 9) // after a key, the focus is visible
			s.wait(`document.activeElement.matches(":focus-visible")`)
			assert.Empty(t, s.value(focusScript), at)
		}
	}
	for _, problem := range s.complaints() {
		assert.Contains(t, problem, "Failed to load resource", name) // the only problem is the status of the page
	}
	s.mu.Lock()
	s.problems = nil
	s.mu.Unlock()
}

// openPage opens a page and waits for its first content.
func (s site) openPage(path string) {
	s.t.Helper()
	s.open(s.address + path)
	s.wait(`document.querySelector("main h1") && document.readyState === "complete"`)
}

func TestEveryPageOfAFreshDatabase(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	for _, page := range everyPage {
		if page.named {
			continue
		}
		s.openPage(page.path)
		s.seen(t, "fresh-"+page.name, true)
		if page.path == "/" {
			require.LessOrEqual(t, s.value(`document.documentElement.scrollHeight`), 900.0, "Now is one screen")
		}
	}
}

func TestEveryPageOfABusyDatabase(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	way := newOutage(t, db)
	b := operateOn(t, db, func(cfg *webui.Config) { cfg.BasePath, cfg.Environment, cfg.Pool = "/iu", "PROD", way.pool })
	fillBusy(t, db)
	db.Exec(t, "SELECT iu_outbox.set_gate('composer', true, 'ann')")
	b.scaleOut(t, "spring-2026", 1200)
	b.giveUp(t, "mailer", 7, 8, 9)
	dead := "d1"
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT idempotency_key FROM iu_outbox.dead_letter LIMIT 1").Scan(&dead))
	b.reported(t)
	s := browse(t, b, "otto", operatorPassword)
	for _, page := range everyPage {
		s.openPage(strings.Replace(page.path, "/d1", "/"+dead, 1))
		require.NotEqual(t, "Bad Request", s.value(`document.querySelector("h1").innerText`), page.path)
		s.seen(t, "busy-"+page.name, true)
		if page.path == "/" {
			require.LessOrEqual(t, s.value(`document.documentElement.scrollHeight`), 900.0, "Now is one screen")
		}
	}

	// Without scripts, each page shows its content and its forms.
	s.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	for _, page := range everyPage {
		s.openPage(strings.Replace(page.path, "/d1", "/"+dead, 1))
		require.Empty(t, s.value(`[...document.querySelectorAll("main button")]
			.filter((e) => e.checkVisibility() && (!e.form || e.disabled)).map((e) => e.outerHTML)`),
			"buttons that do nothing without the script: %s", page.path)
	}
	s.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": false})

	// The database becomes unreachable and returns.
	way.proxy.Stop()
	for _, page := range everyPage {
		s.openPage(strings.Replace(page.path, "/d1", "/"+dead, 1))
		s.wait(`document.querySelector("#frame-banner .lost")`)
		s.seen(t, "down-"+page.name, page.path == "/")
	}
	way.back(t)
	s.openPage("/consumers")
	s.wait(`!document.querySelector("#frame-banner .lost") && document.querySelector("main").innerText.includes("search-index")`)
}

func TestEveryPageOfManyDatabases(t *testing.T) {
	t.Parallel()
	m := setupMany(t)
	s := browse(t, m.others, "otto", operatorPassword)
	for name, path := range map[string]string{"index": "/", "orders": "/d/orders/", "orders-events": "/d/orders/events", "no-worker": "/d/legacy/"} {
		s.openPage(path)
		s.seen(t, "many-"+name, true)
	}
	s.openPage("/")
	s.wait(`document.querySelector(".live [role=status]").innerText === "Live" && document.querySelector("main .mark.good")`)
	s.value(`document.querySelector("a[href$='/d/orders/']").click(), 0`)
	s.wait(`location.pathname === "/iu/d/orders/" && document.querySelector("main h1")`)
}

func TestEveryPageOfAViewer(t *testing.T) {
	t.Parallel()
	s := visitBusy(t, "vera", viewerPassword)
	for _, page := range everyPage {
		if page.asks || page.name == "event" {
			continue
		}
		s.openPage(page.path)
		require.Empty(t, s.value(`[...document.querySelectorAll("main form[method=post], main a:is([href*='/gates/'], [href*='/drop'], [href*='/cancel'])")]
			.map((e) => e.outerHTML)`), "changes are offered: %s", page.path)
		s.seen(t, "viewer-"+page.name, false)
	}
}
