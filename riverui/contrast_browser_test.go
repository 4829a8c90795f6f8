//go:build browser

package webui_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// contrastScript lists the visible texts that have too little contrast with their background. WCAG 2 AA requires 4.5, or 3
// for large texts. The script takes the backgrounds and opacity of all ancestors into account. Disabled controls are exempt,
// as in WCAG.
const contrastScript = `(() => {
  const colour = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+(e-\d+)?/g).map(Number);
    return text.startsWith("color(srgb") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (c) => {
    const [r, g, b] = c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((m, n) => n - m);
    return (x + 0.05) / (y + 0.05);
  };
  // Returns the colours of a text and of its background, painted from the canvas up with each ancestor's opacity.
  const drawn = (element, text) => {
    const way = [];
    for (let e = element; e; e = e.parentElement) way.unshift(e);
    const paint = (i, below) => {
      if (i === way.length) return [over(text, below), below];
      const style = getComputedStyle(way[i]);
      const ground = over(colour(style.backgroundColor), below);
      const [ink, behind] = paint(i + 1, ground);
      const mix = (c) => over([...c.slice(0, 3), Number(style.opacity)], below);
      return [mix(ink), mix(behind)];
    };
    return paint(0, colour(getComputedStyle(document.documentElement).colorScheme.includes("dark") &&
      matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)"));
  };
  const faults = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, title, desc, .unseen, :disabled")) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    if (![...range.getClientRects()].some((r) => r.width > 0 && r.height > 0)) continue;
    const style = getComputedStyle(element);
    const ink = colour(element instanceof SVGElement ? style.fill : style.color);
    const size = parseFloat(style.fontSize);
    const wanted = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700 ? 3 : 4.5;
    const got = ratio(...drawn(element, ink));
    if (got < wanted) faults.push(node.data.trim().slice(0, 60) + ": " + got.toFixed(2) + " in " + element.tagName + "." + element.className);
  }
  return faults;
})()`

// contrastAA requires enough contrast of every visible text, in light and in dark mode.
func (b *browser) contrastAA(t *testing.T) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		require.Empty(t, b.value(contrastScript), "texts with too little contrast, %s", scheme)
	}
	b.scheme("light")
}

// scheme switches to light or dark mode.
func (b *browser) scheme(name string) {
	b.t.Helper()
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": name}}})
	b.wait(fmt.Sprintf("matchMedia('(prefers-color-scheme: %s)').matches", name))
}

// screen sets the size of the window; a phone is 390 wide and has a touch screen.
func (b *browser) screen(width, height int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	})
	b.wait(fmt.Sprintf("innerWidth === %d", width))
}

func TestContrastIsMeasured(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	b.open("data:text/html," + `<body style="background:white;color:black"><p>black</p>` +
		`<p style="color:rgb(119,119,119)">nearly</p><p style="opacity:.4">faded</p>` +
		`<div style="background:black"><b style="color:white">white</b></div><svg><text y="20" style="fill:rgb(170,170,170)">drawn</text></svg></body>`)
	faults, _ := b.value(contrastScript).([]any)
	require.Len(t, faults, 3)
	for i, name := range []string{"nearly: 4.48", "faded: ", "drawn: "} {
		require.Contains(t, faults[i], name)
	}
}
