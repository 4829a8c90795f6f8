//go:build browser

package webui_test

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

func TestAHoverLineReadsTheChart(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(webui.NewChartsPage())
	t.Cleanup(server.Close)
	b := newBrowser(t)
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false})
	b.open(server.URL)
	b.picture("charts-light")

	// Move the pointer to the last minute but one.
	box := func() string { return b.value(`document.querySelector(".chart-box")?.innerText ?? ""`).(string) }
	at := func(id string, share float64) map[string]any {
		rect := b.value(`(() => {
			const plot = document.querySelector("#` + id + ` .chart-plot");
			plot.scrollIntoView({ block: "center", behavior: "instant" });
			const r = plot.getBoundingClientRect();
			return [r.left, r.top, r.width, r.height];
		})()`).([]any)
		return map[string]any{
			"type": "mouseMoved", "x": rect[0].(float64) + share*rect[2].(float64), "y": rect[1].(float64) + rect[3].(float64)/2,
		}
	}
	b.call("Input.dispatchMouseEvent", at("events-1h", 58.5/60))
	b.wait(`document.querySelector("#events-1h .chart-box")`)
	require.Contains(t, box(), "Sun 1 17:58 UTC\nInserted: ")
	require.Contains(t, box(), "\nDead letters: 0\n")
	require.Equal(t, true, b.value(`(() => {
		const [line, plot] = [".chart-hover", ".chart-plot"].map(s => document.querySelector("#events-1h " + s).getBoundingClientRect());
		return Math.abs((line.left - plot.left) / plot.width - 58.5 / 60) < 0.01;
	})()`), "the line is under the pointer")
	require.Equal(t, true, b.value(`document.querySelector(".chart-box").getBoundingClientRect().right <= innerWidth`))
	b.call("Input.dispatchMouseEvent", at("events-1h", 12.5/60))
	b.wait(`document.querySelector(".chart-box").innerText.includes("auto-instantiate closed")`)
	b.picture("charts-hover")
	b.call("Input.dispatchMouseEvent", at("latency", 22.5/60))
	b.wait(`document.querySelector("#latency .chart-box")?.innerText.includes("p95: 3.2 s")`)
	require.Equal(t, true, b.value(`document.querySelectorAll(".chart-box").length === 1`), "there is one line")

	// The hover line remains after its section is replaced.
	b.value(`{ const s = document.querySelector("#latency"); s.innerHTML = s.innerHTML.replace(/<div class="chart-hover.*?<\/div>/, ""); shown(s); }`)
	b.wait(`document.querySelector("#latency .chart-box")?.innerText.includes("p95: 3.2 s")`)
	b.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": 2, "y": 2})
	b.wait(`!document.querySelector(".chart-box")`)

	// The keyboard moves the line.
	b.value(`document.querySelector("#lag .chart-plot").focus()`)
	b.key("End", 35)
	b.wait(`document.querySelector("#lag .chart-box")?.innerText.startsWith("Sun 1 17:59 UTC\nsearch-index: ")`)
	b.key("ArrowLeft", 37)
	b.wait(`document.querySelector("#lag .chart-box").innerText.startsWith("Sun 1 17:58 UTC\n")`)
	b.key("Home", 36)
	b.wait(`document.querySelector("#lag .chart-box").innerText.startsWith("Sun 1 17:00 UTC\n")`)
	b.key("Escape", 27)
	b.wait(`!document.querySelector(".chart-box")`)

	// On a phone, a touch shows the values, and all texts have their size and fit.
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true})
	b.call("Emulation.setTouchEmulationEnabled", map[string]any{"enabled": true})
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}})
	point := at("events-1h", 30.5/60)
	delete(point, "type")
	b.call("Input.dispatchTouchEvent", map[string]any{"type": "touchStart", "touchPoints": []any{point}})
	b.wait(`document.querySelector("#events-1h .chart-box")?.innerText.includes("17:30 UTC")`)
	b.call("Input.dispatchTouchEvent", map[string]any{"type": "touchEnd", "touchPoints": []any{}})
	require.Equal(t, true, b.value("document.documentElement.scrollWidth <= 390"), "it fits a phone")
	require.Equal(t, true, b.value(`[...document.querySelectorAll(".chart text")].every(e => {
		const r = e.getBoundingClientRect();
		return r.left >= 0 && r.right <= innerWidth && r.height >= 11 && r.height <= 20;
	})`), "texts are not stretched, nor cut off")
	require.Equal(t, true, b.value(`[...document.querySelectorAll(".chart-x")].every(axis => {
		const rows = {};
		for (const e of axis.querySelectorAll("text")) (rows[e.getAttribute("y")] ??= []).push(e.getBoundingClientRect());
		return Object.values(rows).every(row => row.every((r, i) => i === 0 || row[i - 1].right < r.left));
	})`), "clock times do not overlap")
	b.picture("charts-phone-dark")
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false})
	b.picture("charts-dark")
	require.Empty(t, b.complaints(), "neither scripts nor the policy complain")
}
