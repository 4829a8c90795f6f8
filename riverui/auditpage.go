package webui

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// auditLine is an audit line as people read it.
type auditLine struct {
	operate.AuditLine
	Text string // who did what
}

// auditDetail is what lines say, as far as sentences are made of it.
type auditDetail struct {
	Gate      string                  `json:"gate"`
	Parked    string                  `json:"parked"`
	IDs       []json.RawMessage       `json:"ids"`
	Count     *int64                  `json:"count"`
	Status    string                  `json:"status"`
	Queue     string                  `json:"queue"`
	Actor     string                  `json:"actor"` // whose instances
	Counts    *operate.RollbackCounts `json:"counts"`
	Announced *int64                  `json:"announced"`
	Consumer  string                  `json:"consumer"`
	To        string                  `json:"to"`
	Skipped   int64                   `json:"skipped"` // by moving a consumer
	Prefix    string                  `json:"prefix"`
	Template  string                  `json:"template"`
	EmitMode  string                  `json:"emit_mode"`
	Name      string                  `json:"name"` // of a setting
	Value     string                  `json:"value"`
}

func auditLines(lines []operate.AuditLine) []auditLine {
	read := make([]auditLine, len(lines))
	for i, line := range lines {
		var d auditDetail
		_ = json.Unmarshal(line.Detail, &d) // a line that another program wrote is shown as it is
		read[i] = auditLine{AuditLine: line, Text: line.Actor + " " + d.did(line.Action)}
	}
	return read
}

// auditWords say what each action did.
var auditWords = map[string]func(d auditDetail) string{
	"gate.open":         func(d auditDetail) string { return "opened the gate " + d.Gate + d.parked() },
	"gate.close":        func(d auditDetail) string { return "closed the gate " + d.Gate },
	"dead_letter.retry": func(d auditDetail) string { return "retried " + d.letters() },
	"dead_letter.drop":  func(d auditDetail) string { return "dropped " + d.letters() },
	"rollback":          func(d auditDetail) string { return "rolled back " + d.Actor + d.rolledBack() },
	"job.cancel":        func(d auditDetail) string { return "cancelled " + d.jobs() },
	"job.retry":         func(d auditDetail) string { return "retried " + d.jobs() },
	"job.delete":        func(d auditDetail) string { return "deleted " + d.jobs() },
	"queue.pause":       func(d auditDetail) string { return "paused the queue " + d.Queue },
	"queue.resume":      func(d auditDetail) string { return "resumed the queue " + d.Queue },
	"queue.update":      func(d auditDetail) string { return "changed the queue " + d.Queue },
	"scaleout.cancel":   func(d auditDetail) string { return "cancelled " + d.counted() + " of the scale-out " + d.Prefix },
	"scaleout.start":    func(d auditDetail) string { return "started the scale-out " + d.Prefix + " of " + d.counted() },
	"setting.set":       func(d auditDetail) string { return "set " + d.Name + " to " + d.Value },
	"template.create":   func(d auditDetail) string { return "created the template " + d.Template },
	"template.mark":     func(d auditDetail) string { return "marked the template " + d.Template },
	"template.unmark":   func(d auditDetail) string { return "unmarked the template " + d.Template },
	"event.test":        func(d auditDetail) string { return "sent a test event for " + d.Template + d.mode() },
	"actor.cancel":      func(d auditDetail) string { return "cancelled " + d.counted() + " of " + d.Actor },
	"consumer.reset":    auditDetail.moved,
	"consumer.delete":   func(d auditDetail) string { return "deleted the consumer " + d.Consumer },
	"consumer.replay":   func(d auditDetail) string { return "replayed " + d.letters() + " of the consumer " + d.Consumer },
	"consumer.drop":     func(d auditDetail) string { return "dropped " + d.letters() + " of the consumer " + d.Consumer },
}

func (d auditDetail) did(action string) string {
	if words, known := auditWords[action]; known {
		return words(d)
	}
	return "did " + action
}

func (d auditDetail) moved() string {
	text := "moved the consumer " + d.Consumer + " to " + d.To
	if d.Skipped > 0 {
		text += ", skipping " + operate.Count{N: d.Skipped}.Of("event", "events")
	}
	return text
}

func (d auditDetail) counted() string {
	return operate.Count{N: *cmp.Or(d.Count, new(int64))}.Of("job", "jobs")
}

func (d auditDetail) mode() string {
	if d.EmitMode == "dry_run" {
		return " (dry run)"
	}
	return " (live)"
}

func (d auditDetail) parked() string {
	if d.Parked == "" || d.Parked == "0" {
		return ""
	}
	if d.Parked == "1" {
		return "; 1 parked job runs now"
	}
	return "; " + d.Parked + " parked jobs run now"
}

func (d auditDetail) letters() string {
	n := int64(len(d.IDs))
	if d.Count != nil {
		n = *d.Count
	}
	text := number(n) + " dead letters"
	if n == 1 {
		text = "1 dead letter"
	}
	if d.Status != "" {
		text += " of " + d.Status
	}
	return text
}

func (d auditDetail) rolledBack() string {
	if d.Counts == nil {
		return ""
	}
	text := fmt.Sprintf(": %s instances deleted", number(d.Counts.EventLog))
	if d.Announced != nil {
		text += fmt.Sprintf(", %s of them had been announced", number(*d.Announced))
	}
	return text
}

func (d auditDetail) jobs() string {
	ids := make([]string, 0, len(d.IDs))
	for _, id := range d.IDs {
		ids = append(ids, strings.Trim(string(id), `"`))
	}
	const named = 5
	switch {
	case len(ids) == 1:
		return "job " + ids[0]
	case len(ids) > named:
		return fmt.Sprintf("%d jobs: %s and others", len(ids), strings.Join(ids[:named], ", "))
	default:
		return "jobs " + strings.Join(ids, ", ")
	}
}

// auditFilter chooses audit lines as the address of the page says it.
type auditFilter struct {
	Actor, Action, Since, Until string

	choice operate.AuditChoice
}

// Query returns the filter as a query, beginning with ? if there is one. more are further pairs.
func (f auditFilter) Query(more ...string) string {
	fields := map[string]string{"actor": f.Actor, "action": f.Action, "since": f.Since, "until": f.Until}
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	return queryOf(fields, more...)
}

// auditActions are what the form offers: all that begin with a word, or one.
var auditActions = []string{
	"actor.cancel", "consumer", "consumer.delete", "consumer.drop", "consumer.replay", "consumer.reset", "dead_letter", "dead_letter.drop",
	"dead_letter.retry", "event.test", "gate", "gate.close", "gate.open", "job", "job.cancel", "job.delete", "job.retry", "queue", "queue.pause",
	"queue.resume", "rollback", "scaleout.cancel", "scaleout.start", "setting.set", "template", "template.create", "template.mark", "template.unmark",
}

// Actions are what the form offers.
func (f auditFilter) Actions() []string { return auditActions }

// auditList is the section of the lines that match a filter.
type auditList struct {
	listPage[auditLine, int64]

	Filter auditFilter
}

// Filtered reports whether some are left out.
func (l auditList) Filtered() bool { return l.Filter.Query() != "" }

const auditShown = 100

func (h *Handler) auditPage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	filter := auditFilter{Actor: query.Get("actor"), Action: query.Get("action"), Since: query.Get("since"), Until: query.Get("until")}
	filter.choice = operate.AuditChoice{Actor: filter.Actor, Action: filter.Action}
	page, ok := h.readIDPage(w, r, auditShown, "an audit line")
	if !ok {
		return
	}
	var err error
	for _, text := range []string{filter.Actor, filter.Action} {
		if !isText(text) {
			h.say(w, r, http.StatusBadRequest, "the filter is not a text of up to 1000 characters")
			return
		}
	}
	for name, moment := range map[string]*time.Time{"since": &filter.choice.Since, "until": &filter.choice.Until} {
		if *moment, err = readMoment(query.Get(name)); err != nil {
			h.say(w, r, http.StatusBadRequest, "%s is %s", name, err)
			return
		}
	}
	v := h.view(r, "Audit", "audit")
	add(v, "filters", "", func(context.Context) reading[auditFilter] { return fresh(filter, nil) })
	add(v, "list", "", func(ctx context.Context) reading[auditList] {
		return readOne(ctx, h.db(), func(ctx context.Context, tx pgx.Tx) (auditList, error) {
			lines, err := operate.AuditOf(ctx, tx, filter.choice, page)
			rows := newListPage(auditLines(lines), page.Limit, page.After > 0, page.Before > 0, func(l auditLine) int64 { return l.ID })
			return auditList{rows, filter}, err
		})
	})
	h.serve(w, r, v)
}
