//go:build browser

package webui_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

// screenshots takes screenshots of the page on a desktop and on a phone, in light and in dark mode, and requires that the phone cuts
// nothing off.
func (s site) screenshots(t *testing.T, name string) {
	t.Helper()
	for size, metrics := range map[string]map[string]any{
		"desktop": {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false},
		"phone":   {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true},
	} {
		s.call("Emulation.setDeviceMetricsOverride", metrics)
		for _, scheme := range []string{"light", "dark"} {
			s.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
			s.picture(name + "-" + size + "-" + scheme)
			s.contrastAA(t)
		}
		if size == "phone" {
			require.Equal(t, true, s.value(`document.documentElement.scrollWidth <= 390`), "%s fits a phone", name)
			require.Equal(t, "[]", s.value(`JSON.stringify([...document.querySelectorAll(
				"main a, main button, main input:not([type=hidden]), main select")]
				.filter(e => e.offsetParent)
				.filter(e => { const r = e.getBoundingClientRect(); return r.right > 391 || r.left < -1; }).map(e => e.outerHTML))`),
				"%s: all that can be used is within the phone's width", name)
			require.Equal(t, "[]", s.value(`JSON.stringify([...document.querySelectorAll(
				"main button, main a.act, main input:not([type=hidden]), main select, main summary")]
				.filter(e => e.offsetParent && !e.closest("label"))
				.filter(e => e.getBoundingClientRect().height < 24).map(e => e.outerHTML))`),
				"%s: buttons are large enough for a finger", name)
		}
	}
	s.call("Emulation.clearDeviceMetricsOverride", nil)
	s.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{}})
}

func TestDeadLettersAreRepairedInABrowser(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.db.OpenGates(t)
	s.bury(t, 60, "template_not_found", "billing", uuid.New())
	s.bury(t, 15, "template_empty", "shop", s.template)
	s.open(s.address + "/dead-letters")
	s.wait(`document.querySelectorAll("#list input[name=id]").length === 50`)
	s.accessible(t)
	s.screenshots(t, "dead-letters")

	// A selection stops the updates of the list. The key r retries the selection. An event that fails again reappears.
	s.open(s.address + "/dead-letters?actor=billing")
	s.wait(`document.querySelector(".live [role=status]").innerText === "Live"`)
	require.Equal(t, true, s.value(`document.querySelector("[data-needs-selection]").disabled`))
	s.value(`document.querySelectorAll("#list input[name=id]")[0].click(), document.querySelectorAll("#list input[name=id]")[1].click()`)
	s.wait(`document.querySelector("[data-selected]").innerText === "2 selected"`)
	s.value(`window.here = true, document.activeElement.blur()`)
	s.key("r", 82)
	s.wait(`!window.here && document.readyState === "complete"`)
	require.Contains(t, s.text(), "otto retried 2 dead letters")
	require.Contains(t, s.value("location.href"), "actor=billing", "back to the same filter")
	s.wait(`!location.search.includes("done")`)
	s.wait(`document.querySelector("#list .total").innerText.startsWith("60 ")`)

	s.follow(`.all-matching button[formmethod=get]`)
	require.Contains(t, s.text(), "This permanently deletes 60 dead letters (actor billing)")
	s.accessible(t)
	s.screenshots(t, "dead-letters-drop")
	s.follow(`button.danger`)
	require.Contains(t, s.text(), "otto dropped 60 dead letters")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestScaleoutsAndTemplatesInABrowser(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.scaleOut(t, "spring-2026", 1200)
	s.scaleOut(t, "autumn", 3)
	for i := range 60 {
		s.db.Template(t, fmt.Sprintf("welcome/letter-%02d", i), i%3)
	}
	s.open(s.address + "/scaleouts")
	s.wait(`document.querySelectorAll("#list tbody tr").length === 2`)
	s.accessible(t)
	s.screenshots(t, "scaleouts")
	s.follow(`a[href*="prefix=spring-2026"]`)
	s.enter("#confirm", "spring-2026")
	s.accessible(t)
	s.screenshots(t, "scaleout-cancel")

	s.open(s.address + "/templates")
	s.wait(`document.querySelectorAll("#list tbody tr").length === 50`)
	s.accessible(t)
	s.screenshots(t, "templates")
	s.open(s.address + "/templates/" + url.PathEscape("welcome/letter-02"))
	s.wait(`document.querySelector("#facts").innerText.includes("2 pieces")`)
	s.accessible(t)
	s.screenshots(t, "template")
	s.open(s.address + "/audit")
	s.accessible(t)
	s.screenshots(t, "audit")
	s.open(s.address + "/gates/composer?to=open")
	s.accessible(t)
	s.screenshots(t, "gate")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestEventsAreFollowedOnThePage(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword, func(cfg *webui.Config) {
		events, err := eventstream.New(eventstream.Config{Pool: cfg.Pool})
		require.NoError(t, err)
		t.Cleanup(events.Stop)
		cfg.Events = events
	})
	s.db.OpenGates(t)
	s.open(s.address + "/stream")
	s.wait(`document.querySelector(".following").innerText === "Following"`)
	s.insert(t, s.template, "a", "b")
	s.wait(`document.querySelectorAll(".received li").length === 2`)
	s.value(`document.querySelector(".received summary").click()`)
	s.wait(`document.querySelector(".received pre").innerText.includes('"template_key": "letter"')`)
	s.accessible(t)
	s.screenshots(t, "stream")

	// Events that are announced during a pause appear afterwards.
	s.value(`document.querySelector("[data-pause]").click()`)
	s.insert(t, s.template, "c")
	s.waitAnnounced(t, 3)
	s.value(`document.querySelector("[data-pause]").click()`)
	s.wait(`document.querySelectorAll(".received li").length === 3`)
	s.value(`document.querySelector("[data-clear]").click()`)
	s.wait(`document.querySelectorAll(".received li").length === 0`)

	s.open(s.address + "/stream?from=beginning&actor=nobody")
	s.wait(`document.querySelector(".following").innerText === "Following"`)
	s.open(s.address + "/stream?from=beginning")
	s.wait(`document.querySelectorAll(".received li").length === 3`)
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestARollbackIsPreparedInABrowser(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.db.OpenGates(t)
	s.insert(t, s.template, "a", "b", "c")
	s.waitAnnounced(t, 3)
	s.db.Exec(t, "SELECT iu_outbox.set_gate('composer', false, 'test')")
	s.waitState(t, s.insert(t, s.template, "d")[0], "parked")
	s.open(s.address + "/rollback")
	s.wait(`document.querySelector(".counts a")`)
	s.screenshots(t, "rollback-ask")
	s.follow(".counts a")
	require.Contains(t, s.text(), "1 event of shop <1> is still to be composed")
	s.accessible(t)
	s.screenshots(t, "rollback")
	s.follow(`a[href*="/rollback/cancel"]`)
	s.accessible(t)
	s.screenshots(t, "rollback-cancel")
	s.follow("button.danger")
	require.Contains(t, s.text(), "otto cancelled 1 job of shop <1>.")
}
