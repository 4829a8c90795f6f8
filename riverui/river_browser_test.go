//go:build browser

package webui_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAViewerIsOfferedNoChangeInRiverUI(t *testing.T) {
	t.Parallel()
	s := visit(t, "vera", viewerPassword)
	events := s.insert(t, s.template, "a")
	s.waitState(t, events[0], "parked")
	s.open(s.address + "/riverui/jobs/1")
	s.wait(`document.querySelector("#root")?.innerText.includes("instance_key_suffix")`)
	const offered = `[...document.querySelectorAll("#root button")].filter(b => /^(Retry|Cancel|Delete)/.test(b.textContent.trim()) && b.offsetParent).length`
	s.wait(offered + ` === 0`)
	s.open(s.address + "/riverui/queues")
	s.wait(`document.querySelector("#root")?.innerText.includes("scaleout")`)
	s.wait(`[...document.querySelectorAll("#root button")].filter(b => /^(Pause|Resume)$/.test(b.title) && b.offsetParent).length === 0`)
	s.picture("river-viewer-queues")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestRiverUIHasAWayBack(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	events := s.insert(t, s.template, "a")
	s.waitState(t, events[0], "parked")
	s.open(s.address + "/riverui/jobs?state=scheduled")
	s.wait(`document.querySelector("#root")?.innerText.includes("auto_instantiate")`)
	s.wait(`document.querySelector("#root .sticky.top-0").getBoundingClientRect().top >= document.getElementById("iuworker").offsetHeight - 1`)
	s.picture("river-frame")
	s.value(`document.querySelector("#iuworker summary").click()`)
	s.wait(`document.querySelector("#iuworker dl").offsetParent`)
	s.picture("river-frame-words")
	s.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true})
	require.Equal(t, true, s.value("document.getElementById('iuworker').getBoundingClientRect().right <= 390"))
	s.picture("river-frame-phone")
	s.call("Emulation.clearDeviceMetricsOverride", nil)
	s.open(s.address + "/riverui/jobs/1")
	s.wait(`[...document.querySelectorAll("#root button")].some(b => b.textContent.trim() === "Cancel" && b.offsetParent)`)
	s.picture("river-frame-job")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
	s.follow("#iuworker .name")
	s.wait(`document.querySelector("h1")`)
}
