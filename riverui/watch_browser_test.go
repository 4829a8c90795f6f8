//go:build browser

package webui_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// phone shows a page as on a phone, and requires that nothing is cut off and that targets are large enough for fingers.
func (s site) phone(t *testing.T, name string) {
	t.Helper()
	s.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true})
	require.Equal(t, true, s.value("document.documentElement.scrollWidth <= 390"), "%s fits a phone", name)
	require.Empty(t, s.value(`[...document.querySelectorAll("main a, main button, main summary, main input:not([type=hidden])")]
		.filter((e) => e.offsetParent && !e.closest("p, dd, li, th, small, span.command")).map((e) => [e, e.closest("label") || e])
		.filter(([, e]) => e.getBoundingClientRect().height < 24).map(([e]) => e.outerHTML.slice(0, 100)).join("\n")`), "%s has targets of 24 px", name)
	require.Empty(t, s.value(`[...document.querySelectorAll("main td, main th, main p, main dd, main button")]
		.filter((e) => e.offsetParent && !e.closest(".scroll, .chart, .unseen, thead")).filter((e) => e.getBoundingClientRect().right > 391)
		.map((e) => e.outerHTML.slice(0, 100)).join("\n")`), "%s cuts nothing off", name)
	s.picture(name + "-phone")
	s.call("Emulation.clearDeviceMetricsOverride", nil)
}

// seenEverywhere checks a page on a desktop and on a phone, and takes screenshots.
func (s site) seenEverywhere(t *testing.T, name string) {
	t.Helper()
	s.accessible(t)
	s.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false})
	s.picture(name)
	s.contrastAA(t)
	s.scheme("dark")
	s.picture(name + "-dark")
	s.scheme("light")
	s.phone(t, name)
}

func TestAnOperatorBringsAConsumerBack(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.announce(t, "a", "b", "c", "d")
	s.db.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = now() - interval '2 hours'")
	for name, position := range map[string]int{"search-index": 1, "data-warehouse-of-the-whole-company-eu-west": 4, "mail": 4} {
		s.consumer(t, name, position)
	}
	s.db.Exec(t, `INSERT INTO iu_outbox.history_consumer (at, consumer, lag)
		SELECT date_trunc('minute', now()) - m * interval '1 minute', c.name, CASE c.name WHEN 'search-index' THEN greatest(0, 50 - m) * 700 ELSE m % 7 END
		FROM generate_series(1, 55) AS m, iu_outbox.consumer AS c
		ON CONFLICT (at, consumer) DO UPDATE SET lag = excluded.lag`)
	s.db.Exec(t, "UPDATE iu_outbox.consumer SET tries = 4, last_error = $1 WHERE name = 'mail'",
		"connection to smtp.example.org:25 refused, and this goes on for a while")
	s.giveUp(t, "mail", 1, 2, 3)

	s.open(s.address + "/consumers")
	s.picture("consumers-first")
	s.wait(`document.querySelector(".consumers tbody tr th")?.innerText === "search-index"`)
	s.seenEverywhere(t, "consumers")
	s.follow(`a[href="/iu/consumers/search-index"]`)
	s.wait(`document.querySelector("#lag figure")`)
	require.Contains(t, s.text(), "Behind, no process.")
	s.seenEverywhere(t, "consumer")
	s.follow(`#actions button[value="now"]`)
	require.Contains(t, s.text(), "3 events will be skipped")
	s.seenEverywhere(t, "consumer-reset")
	s.enter("#confirm", "3")
	s.follow("form.confirm button")
	require.Contains(t, s.text(), "skipping 3 events.")

	s.open(s.address + "/consumers/mail")
	s.wait(`document.querySelectorAll("#letters tbody tr").length === 3`)
	s.seenEverywhere(t, "consumer-letters")
	require.Equal(t, true, s.value(`document.querySelector("#letters [data-needs-selection]").disabled`))
	s.value(`document.querySelector("#letters tbody input[type=checkbox]").click()`)
	require.Equal(t, false, s.value(`document.querySelector("#letters [data-needs-selection]").disabled`))
	s.follow(`#letters [data-needs-selection]`)
	require.Contains(t, s.text(), "replayed 1 dead letter of the consumer mail.")
	s.follow(`a[href="/iu/consumers/mail/delete"]`)
	require.Contains(t, s.text(), "has 3 dead letters")
	s.seenEverywhere(t, "consumer-delete")
	s.enter("#confirm", "mail")
	s.follow("form.confirm button")
	require.Contains(t, s.text(), "otto deleted the consumer mail.")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}

func TestAnOperatorSeesHealthWorkersAndSettings(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	s.reported(t)
	s.db.Exec(t, "SELECT iu_outbox.set_gate('composer', true, 'test')")
	s.db.Exec(t, `INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, started_at)
		VALUES ('old', 7, 'box-1', 42, '1.2.2', now() - interval '1 day')`)
	s.db.KeepAlive(t, "old")
	s.open(s.address + "/health")
	s.wait(`document.querySelector("#gates a[href*=auto-instantiate]")`)
	s.value(`document.querySelector("details.checks").open = true`)
	s.seenEverywhere(t, "health")
	s.follow(`button[name=run]`)
	require.Contains(t, s.text(), "checks")
	s.wait(`document.querySelector("#gates a[href*=auto-instantiate]")`)
	s.follow(`#gates a.act`)
	require.Contains(t, s.text(), "Open the gate auto-instantiate")

	s.open(s.address + "/workers")
	s.wait(`document.querySelector("#workers table")`)
	s.seenEverywhere(t, "workers")
	s.db.WaitFor(t, patience, "SELECT count(*) = 2 FROM iu_river.river_queue")
	s.follow(`a[href="/iu/queues/scaleout?to=pause"]`)
	s.seenEverywhere(t, "queue")
	s.follow("main form button")
	require.Contains(t, s.text(), "otto paused the queue scaleout.")
	s.wait(`document.querySelector("#queue-scaleout").innerText.includes("by otto")`)
	s.db.Exec(t, `UPDATE iu_outbox.worker_report SET settings = settings || '{"given": [
		{"name": "lanes", "value": "8", "default": "4", "from": "$IUWORKER_LANES"},
		{"name": "database-url", "value": "host=a-long-name.of.a.database.example.org port=5432 user=iuworker dbname=shop", "from": "--database-url"}]}'`)
	s.open(s.address + "/settings")
	s.wait(`document.querySelector("#workers")`)
	s.seenEverywhere(t, "settings")
	require.Empty(t, s.complaints(), "neither scripts nor the policy complain")
}
