//go:build browser

package webui_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// An operator finds the failed events, retries a selection with the keyboard, and reads one event's timeline.
func TestEventsAreFoundAndRepaired(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.open(s.address + "/events")
	require.Contains(t, s.text(), "There are no events yet.")
	s.db.OpenGates(t)
	for _, id := range s.insert(t, uuid.New(), "lost-1", "lost-2") {
		s.waitState(t, id, "dead")
	}
	done := s.insert(t, s.template, "done-1", "done-2", "done-3")
	for _, id := range done {
		s.waitState(t, id, "done")
	}
	s.waitAnnounced(t, 3)
	s.db.Exec(t, "SELECT iu_outbox.set_gate('auto-instantiate', false, 'test')")
	parked := s.insert(t, s.template, "parked-1")
	s.waitState(t, parked[0], "parked")

	// New events appear without a reload.
	s.wait(`document.querySelector("#list").innerText.includes("parked-1")`)
	s.accessible(t)
	s.pictures(t, "events")
	s.follow(`#counts a[href$="state=dead"]`)
	require.NotContains(t, s.text(), "done-1")
	require.Equal(t, true, s.value(`document.querySelector("button[value=retry]").disabled`), "nothing is selected")
	s.value(`document.querySelector("[data-check-all]").focus()`)
	s.key(" ", 32)
	s.call("Input.dispatchKeyEvent", map[string]any{"type": "char", "text": " "})
	s.value(`document.querySelector("[data-check-all]").checked || document.querySelector("[data-check-all]").click()`)
	s.wait(`document.querySelector("[data-selected]").innerText === "2 selected"`)
	s.follow(`button[value=drop]`)
	require.Contains(t, s.text(), "This permanently deletes 2 dead letters")
	s.accessible(t)
	s.pictures(t, "events-change")
	s.follow(`form.confirm button`)
	require.Contains(t, s.text(), "otto dropped 2 dead letters")
	require.Contains(t, s.text(), "No event matches.")

	s.open(s.address + "/events?suffix=done-1")
	s.follow(`th[scope=row] a`)
	require.Contains(t, s.text(), "Announced at position")
	require.Equal(t, done[0].String(), s.value(`document.querySelector(".facts button.copy").dataset.copy`))
	s.accessible(t)
	s.pictures(t, "event")
	s.open(s.address + "/trace?q=" + parked[0].String())
	require.Contains(t, s.text(), "Parked at the gate auto-instantiate")
	s.pictures(t, "event-parked")
	s.db.OpenGates(t)
	s.wait(`document.querySelector("#detail").innerText.includes("Announced at position")`)
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

// pictures takes a screenshot of a page on a desktop, and one on a phone in dark mode.
func (s site) pictures(t *testing.T, name string) {
	t.Helper()
	s.picture(name)
	s.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true})
	s.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}})
	require.Equal(t, true, s.value("document.documentElement.scrollWidth <= 390"), "%s fits a phone", name)
	s.picture(name + "-phone-dark")
	s.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{}})
	s.call("Emulation.clearDeviceMetricsOverride", nil)
}
