package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
	webui "github.com/iu-core/iuworker/riverui"
)

// operatorChange is a change that both a command and a page can make.
type operatorChange struct {
	command string
	path    string
	form    url.Values
}

// operatorChanges is in an order in which each change has an effect. EPOCH stands for the epoch of the database. Some changes are
// requested twice: the second request has no effect.
var operatorChanges = []operatorChange{
	{"gate open composer", "/gates/composer", url.Values{"to": {"open"}}},
	{"gate open composer", "/gates/composer", url.Values{"to": {"open"}}},
	{"gate close auto-instantiate", "/gates/auto-instantiate", url.Values{"to": {"close"}}},
	{"gate close auto-instantiate", "/gates/auto-instantiate", url.Values{"to": {"close"}}},
	{
		"dead-letters retry --status template_empty", "/dead-letters/retry",
		url.Values{"all": {"1"}, "status": {"template_empty"}},
	},
	{
		"dead-letters drop --status cancelled --expect 3", "/dead-letters/drop",
		url.Values{"all": {"1"}, "status": {"cancelled"}, "expect": {"3"}},
	},
	{"rollback --actor ann --execute --expect 2", "/rollback", url.Values{"actor": {"ann"}, "instances": {"2"}, "confirm": {"ann"}}},
	{"cancel --actor late --expect 4", "/rollback/cancel", url.Values{"actor": {"late"}, "expect": {"4"}}},
	{"scaleout cancel spring --expect 5", "/scaleouts/cancel", url.Values{"prefix": {"spring"}, "expect": {"5"}}},
	{"scaleout pause", "/scaleouts/pause", url.Values{"to": {"pause"}}},
	{"scaleout pause", "/scaleouts/pause", url.Values{"to": {"pause"}}},
	{"scaleout resume", "/queues/scaleout", url.Values{"to": {"resume"}}},
	{
		"consumers reset mail --to EPOCH-2 --expect 2", "/consumers/mail/reset",
		url.Values{"to": {"EPOCH-2"}, "skipped": {"2"}, "confirm": {"2"}},
	},
	{"consumers replay mail", "/consumers/mail/dead-letters/replay", url.Values{"all": {"1"}}},
	{"consumers dead-letters mail --drop --yes", "/consumers/mail/dead-letters/drop", url.Values{"all": {"1"}, "expect": {"2"}}},
	{"consumers dead-letters mail --drop --yes", "/consumers/mail/dead-letters/drop", url.Values{"all": {"1"}, "expect": {"2"}}},
	{"consumers delete mail --yes", "/consumers/mail/delete", url.Values{"at": {"EPOCH-2"}, "letters": {"0"}, "confirm": {"mail"}}},
	{"templates mark letter --off", "/templates/letter/mark", url.Values{"to": {"unmark"}}},
	{"templates mark letter", "/templates/letter/mark", url.Values{"to": {"mark"}}},
}

// prepareOperatorChanges creates what the changes need, and returns the epoch.
func prepareOperatorChanges(t *testing.T, db *iutest.DB) (epoch string) {
	t.Helper()
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "a-1", "a-2")
	bury(t, db, template, 2, "template_empty")
	bury(t, db, template, 3, "cancelled")
	for _, args := range [][]string{{"--count", "4", "--prefix", "autumn", "--actor", "late"}, {"--count", "5", "--prefix", "spring", "--actor", "bulk"}} {
		run(t, on(db), append([]string{"scaleout", "--template", "letter"}, args...)...).done(t)
	}
	db.Exec(t, "INSERT INTO iu_river.river_queue (name, updated_at) VALUES ('scaleout', now())")
	db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mail', c.epoch, 0 FROM iu_outbox.emission_counter AS c")
	db.Exec(t, `
		INSERT INTO iu_outbox.consumer_dead_letter (consumer, epoch, position, event, tries, error)
		SELECT 'mail', c.epoch, n, '{}', 3, 'no' FROM iu_outbox.emission_counter AS c, generate_series(1, 2) AS n`)
	db.Exec(t, "UPDATE public.dot_config SET value = 'false' WHERE key = 'iu_core.composer_enabled'")
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT c.epoch FROM iu_outbox.emission_counter AS c").Scan(&epoch))
	db.Exec(t, "DELETE FROM iu_outbox.audit") // those of the scale-outs
	return epoch
}

// auditLines returns the actions and details of the audit.
func auditLines(t *testing.T, db *iutest.DB, epoch string) (lines []string) {
	t.Helper()
	audit, err := operate.Audit(t.Context(), db.Pool, 0, 100)
	require.NoError(t, err)
	for _, line := range audit {
		var detail map[string]any
		require.NoError(t, json.Unmarshal(line.Detail, &detail))
		delete(detail, "remote")
		text, err := json.Marshal(detail)
		require.NoError(t, err)
		lines = append(lines, line.Action+" "+strings.ReplaceAll(string(text), epoch, "EPOCH"))
	}
	return lines
}

func TestCommandsAndPagesLeaveTheSameAuditLines(t *testing.T) {
	t.Parallel()
	byCommand, byPage := iutest.New(t), iutest.New(t)

	epoch := prepareOperatorChanges(t, byCommand)
	for _, change := range operatorChanges {
		args := strings.Fields(strings.ReplaceAll(change.command, "EPOCH", epoch))
		run(t, on(byCommand), args...).done(t)
	}
	byCommands := auditLines(t, byCommand, epoch)

	epoch = prepareOperatorChanges(t, byPage)
	handler, err := webui.New(webui.Config{Pool: byPage.Pool, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	for _, change := range operatorChanges {
		form := strings.ReplaceAll(change.form.Encode(), "EPOCH", epoch)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8080"+change.path, strings.NewReader(form))
		r.RemoteAddr = "127.0.0.1:40000"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.NotEqual(t, http.StatusBadRequest, w.Code, "%s: %s", change.path, w.Body)
		require.Less(t, w.Code, http.StatusInternalServerError, "%s: %s", change.path, w.Body)
	}
	require.Equal(t, byCommands, auditLines(t, byPage, epoch))
	const again = 4 // requests without an effect
	require.Len(t, byCommands, len(operatorChanges)-again, "what changes nothing leaves no line")
}
