//go:build browser

package webui_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// visitBusy opens the pages of a busy database.
func visitBusy(t *testing.T, user, password string) site {
	t.Helper()
	b := setupOperating(t, func(cfg *webui.Config) { cfg.BasePath, cfg.Environment = "/iu", "PROD" })
	fillBusy(t, b.db)
	return browse(t, b, user, password)
}

// shown waits until every section of Now has its content.
func (s site) shown() {
	s.t.Helper()
	s.wait(`document.querySelector("#running .running") && document.querySelector(".live [role=status]").innerText === "Live"`)
}

func TestNowFitsOneScreen(t *testing.T) {
	t.Parallel()
	s := visitBusy(t, "otto", operatorPassword)
	s.db.Exec(t, `INSERT INTO iu_outbox.audit (actor, action, detail, at)
		SELECT 'otto', 'gate.open', '{"gate": "auto-instantiate"}', now() - n * interval '3 minutes' FROM generate_series(1, 12) AS n`) // marks
	for _, name := range []string{"1h", "6h", "24h", "7d"} {
		s.screen(1440, 900)
		s.open(s.address + "/?range=" + name)
		s.shown()
		s.picture("now-" + name)
		require.LessOrEqual(t, s.value(`document.documentElement.scrollHeight`), 900.0, "it does not scroll, %s", name)
		require.LessOrEqual(t, s.value(`document.documentElement.scrollWidth`), 1440.0)
		require.Empty(t, s.value(cutOff), "texts that are cut off, %s", name)
		require.Equal(t, true, s.value(`document.querySelectorAll(".need > li").length === 3`))
	}
	s.contrastAA(t)
	s.accessible(t)
	s.scheme("dark")
	s.picture("now-dark")
	require.Empty(t, s.complaints())
}

// cutOff lists texts that are wider than their element, or outside the window.
const cutOff = `[...document.querySelectorAll("main *")].filter((e) => {
	if (!e.checkVisibility() || e.closest(".unseen, svg, .list thead, details:not([open]) > :not(summary)")) return false;
	const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
	const box = e.getBoundingClientRect();
	const clipped = ["hidden", "clip"].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1;
	return own && (clipped || box.right > innerWidth + 0.5 || box.left < -0.5);
}).map((e) => e.tagName + ": " + e.textContent.trim().slice(0, 60))`

func TestNowOnAPhone(t *testing.T) {
	t.Parallel()
	s := visitBusy(t, "otto", operatorPassword)
	s.screen(390, 844)
	s.open(s.address + "/")
	s.shown()
	require.LessOrEqual(t, s.value(`document.documentElement.scrollWidth`), 390.0)
	require.Empty(t, s.value(cutOff), "texts that are cut off")
	require.Equal(t, true, s.value(`["needs", "figures", "pipeline", "charts", "consumers", "templates", "feed", "running"]
		.map((id) => document.getElementById(id).getBoundingClientRect().top).every((top, i, all) => i === 0 || top > all[i - 1])`), "in their order")
	require.Equal(t, true, s.value(`[...document.querySelectorAll(".pipe > li")].every((e, i, all) => i === 0 ||
		e.getBoundingClientRect().top >= all[i - 1].getBoundingClientRect().bottom)`), "the pipeline is upright")
	require.Equal(t, true, s.value(`[...document.querySelectorAll(".need a.act")].every((e) =>
		e.getBoundingClientRect().width > 300 && e.getBoundingClientRect().height >= 40)`), "buttons are as wide as the screen")
	require.Empty(t, s.value(`[...document.querySelectorAll("main a, main button, main summary")].filter((e) => e.checkVisibility() &&
		!e.closest("details:not([open]) > :not(summary)") && e.getBoundingClientRect().height < 24).map((e) => e.textContent.trim())`), "targets for a thumb")
	s.contrastAA(t)
	s.picture("now-phone-light")
	s.scheme("dark")
	s.picture("now-phone-dark")
	require.Empty(t, s.complaints())
}

func TestNowOfAFreshDatabase(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.screen(1440, 900)
	s.open(s.address + "/")
	s.shown()
	require.Contains(t, s.text(), "To set up")
	require.LessOrEqual(t, s.value(`document.documentElement.scrollHeight`), 900.0)
	s.contrastAA(t)
	s.accessible(t)
	s.picture("now-fresh")
	s.screen(390, 844)
	require.Empty(t, s.value(cutOff), "texts that are cut off")
	s.picture("now-fresh-phone")
	s.screen(1440, 900)

	// A task is done on the page, and then ticked.
	s.follow(`.setup a[href="/iu/gates/composer?to=open"]`)
	s.follow("form button.act")
	s.wait(`document.querySelector('.setup a[href="/iu/gates/auto-instantiate?to=open"]')`)
	s.follow(`.setup a[href="/iu/gates/auto-instantiate?to=open"]`)
	s.follow("form button.act")
	s.insert(t, s.template, "a")
	s.db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mailer', epoch, 1 FROM iu_outbox.emission_counter")
	s.wait(`!document.querySelector(".setup")`)
	require.Empty(t, s.complaints())
}

func TestNowOfADatabaseThatIsDownAndBack(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	fillBusy(t, db)
	way := newOutage(t, db)
	b := operating{db: db, log: &iutest.Log{}, handler: handlerOn(t, db, func(cfg *webui.Config) {
		cfg.BasePath, cfg.Credentials, cfg.Pool = "/iu", credentials(t), way.pool
	})}
	s := browse(t, b, "vera", viewerPassword)
	s.screen(1440, 900)
	s.open(s.address + "/")
	s.shown()
	s.wait(`document.querySelector("#consumers").innerText.includes("search-index")`)

	way.proxy.Stop()
	s.wait(`document.querySelector("#frame-banner .lost")`)
	s.wait(`document.querySelector(".live [role=status]").innerText === "No data"`)
	s.wait(`document.querySelector("#pipeline").classList.contains("stale")`)
	require.Contains(t, s.value(`document.querySelector("#frame-banner").innerText`), "has been unreachable since")
	require.Contains(t, s.value(`document.querySelector("#frame-banner").innerText`), "Numbers are from")
	require.Contains(t, s.value(`document.querySelector("#consumers").innerText`), "search-index", "the last values stay")
	require.Contains(t, s.value(`document.querySelector("#pipeline").innerText`), "parked")
	require.NotContains(t, s.value(`document.querySelector(".live").innerText`), "Live")
	require.NotContains(t, s.text(), "not ready", "the cause is told once")
	s.picture("now-down")

	way.back(t)
	s.wait(`!document.querySelector("#frame-banner .lost")`)
	s.shown()
	s.wait(`!document.querySelector("#pipeline").classList.contains("stale")`)
}

func TestNowIsUsedByTheKeyboard(t *testing.T) {
	t.Parallel()
	s := visitBusy(t, "otto", operatorPassword)
	s.screen(1440, 900)
	s.open(s.address + "/")
	s.shown()
	require.Empty(t, s.value(`[...document.querySelectorAll("main a, main button, main summary")].filter((e) => e.checkVisibility() &&
		!e.closest("details:not([open]) > :not(summary)") && e.tabIndex < 0).map((e) => e.outerHTML)`), "each link and button takes the focus")
	s.value(`document.querySelector('.need a[href="/iu/gates/auto-instantiate?to=open"]').focus(), window.here = true`)
	s.enterKey()
	s.wait(`!window.here && document.readyState === "complete" && document.querySelector("form button.act")`)
	s.value(`document.querySelector("form button.act").focus(), window.here = true`)
	s.enterKey()
	s.wait(`!window.here && document.readyState === "complete" && document.querySelector(".done")`)
	require.Contains(t, s.text(), "otto opened the gate auto-instantiate")
}

// enterKey presses Enter on the focused element.
func (b *browser) enterKey() {
	b.t.Helper()
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"})
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13})
}

// If PICTURES names a directory, the test writes the pictures of the documents there: CONTRIBUTING.md says how.
func TestPicturesOfNow(t *testing.T) {
	t.Parallel()
	own, server := iutest.Own(t)
	admin, err := pgxpool.New(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "CREATE DATABASE shop TEMPLATE "+own.Name)
	require.NoError(t, err)
	admin.Close()
	pool, err := pgxpool.New(t.Context(), server.URL("shop"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db := &iutest.DB{URL: server.URL("shop"), Name: "shop", Pool: pool}
	b := operateOn(t, db, func(cfg *webui.Config) { cfg.BasePath, cfg.Environment = "/iu", "PROD" })
	fillBusy(t, db)
	s := browse(t, b, "otto", operatorPassword)
	s.screen(1440, 900)
	s.open(s.address + "/")
	s.shown()
	require.Contains(t, s.value("document.title"), "PROD · Now · shop@")
	for _, scheme := range []string{"light", "dark"} {
		s.scheme(scheme)
		picture := small(t, s.screenshot())
		require.Less(t, len(picture), 200_000)
		if directory := os.Getenv("PICTURES"); directory != "" {
			require.NoError(t, os.WriteFile(filepath.Join(directory, "now-"+scheme+".png"), picture, 0o644)) //nolint:gosec // the file is published
		}
	}
}

// small reduces a picture to its 256 most frequent colours that differ enough. A page looks the same, and the file is half as large.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	counts := map[color.Color]int{}
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[full.At(x, y)]++
		}
	}
	var palette color.Palette
	for _, colour := range slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return cmp.Compare(counts[b], counts[a]) }) {
		if len(palette) < 256 && (len(palette) == 0 || distance(colour, palette.Convert(colour)) > 12) {
			palette = append(palette, colour)
		}
	}
	reduced := image.NewPaletted(bounds, palette)
	draw.Draw(reduced, bounds, full, bounds.Min, draw.Src)
	var b bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, reduced))
	return b.Bytes()
}

func distance(a, b color.Color) float64 {
	r1, g1, b1, _ := a.RGBA()
	r2, g2, b2, _ := b.RGBA()
	return math.Sqrt(math.Pow(float64(r1)-float64(r2), 2)+math.Pow(float64(g1)-float64(g2), 2)+math.Pow(float64(b1)-float64(b2), 2)) / 257
}
