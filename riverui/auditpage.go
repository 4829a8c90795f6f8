package webui

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// auditLine is an audit line as people read it.
type auditLine struct {
	operate.AuditLine
	Text string // who did what
}

// auditDetail has what the details of all actions contain, as far as a text needs it.
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
		did := "did " + line.Action
		if text, known := auditTexts[line.Action]; known {
			did = text(d)
		}
		read[i] = auditLine{AuditLine: line, Text: line.Actor + " " + did}
	}
	return read
}

// auditTexts say what each action did.
var auditTexts = map[string]func(d auditDetail) string{
	"actor.cancel":      func(d auditDetail) string { return "cancelled " + d.counted() + " of " + d.Actor },
	"consumer.delete":   func(d auditDetail) string { return "deleted the consumer " + d.Consumer },
	"consumer.drop":     func(d auditDetail) string { return "dropped " + d.letters() + " of the consumer " + d.Consumer },
	"consumer.replay":   func(d auditDetail) string { return "replayed " + d.letters() + " of the consumer " + d.Consumer },
	"consumer.reset":    func(d auditDetail) string { return "moved the consumer " + d.Consumer + " to " + d.To + d.skipped() },
	"dead_letter.drop":  func(d auditDetail) string { return "dropped " + d.letters() },
	"dead_letter.retry": func(d auditDetail) string { return "retried " + d.letters() },
	"event.test":        func(d auditDetail) string { return "sent a test event for " + d.Template + d.mode() },
	"gate.close":        func(d auditDetail) string { return "closed the gate " + d.Gate },
	"gate.open":         func(d auditDetail) string { return "opened the gate " + d.Gate + d.parked() },
	"job.cancel":        func(d auditDetail) string { return "cancelled " + d.jobs() },
	"job.delete":        func(d auditDetail) string { return "deleted " + d.jobs() },
	"job.retry":         func(d auditDetail) string { return "retried " + d.jobs() },
	"queue.pause":       func(d auditDetail) string { return "paused the queue " + d.Queue },
	"queue.resume":      func(d auditDetail) string { return "resumed the queue " + d.Queue },
	"queue.update":      func(d auditDetail) string { return "changed the queue " + d.Queue },
	"rollback":          func(d auditDetail) string { return "rolled back " + d.Actor + d.rolledBack() },
	"scaleout.cancel":   func(d auditDetail) string { return "cancelled " + d.counted() + " of the scale-out " + d.Prefix },
	"scaleout.start":    func(d auditDetail) string { return "started the scale-out " + d.Prefix + " of " + d.counted() },
	"setting.set":       func(d auditDetail) string { return "set " + d.Name + " to " + d.Value },
	"template.create":   func(d auditDetail) string { return "created the template " + d.Template },
	"template.mark":     func(d auditDetail) string { return "marked the template " + d.Template },
	"template.unmark":   func(d auditDetail) string { return "unmarked the template " + d.Template },
}

func (d auditDetail) skipped() string {
	if d.Skipped == 0 {
		return ""
	}
	return ", skipping " + operate.Count{N: d.Skipped}.Of("event", "events")
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
	switch d.Parked {
	case "", "0":
		return ""
	case "1":
		return "; 1 parked job runs now"
	default:
		return "; " + d.Parked + " parked jobs run now"
	}
}

func (d auditDetail) letters() string {
	text := operate.Count{N: *cmp.Or(d.Count, new(int64(len(d.IDs))))}.Of("dead letter", "dead letters")
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
	ids := make([]string, len(d.IDs))
	for i, id := range d.IDs {
		ids[i] = strings.Trim(string(id), `"`)
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

// auditActions returns what the filter's form offers: each action, and before it the group to which it belongs.
func auditActions() (actions []string) {
	for _, action := range slices.Sorted(maps.Keys(auditTexts)) {
		group, _, _ := strings.Cut(action, ".")
		if !slices.Contains(actions, group) {
			actions = append(actions, group)
		}
		actions = append(actions, action)
	}
	return slices.Compact(actions)
}

const auditShown = 100

func (h *Handler) auditPage(r *http.Request) (*view, error) {
	page, err := readIDPage(r, auditShown, "an audit line")
	if err != nil {
		return nil, err
	}
	f, err := readFilter(r, "actor", "action", "since", "until")
	if err != nil {
		return nil, err
	}
	choice := operate.AuditChoice{Actor: f["actor"], Action: f["action"]}
	if choice.Since, choice.Until, err = f.span(); err != nil {
		return nil, err
	}
	v := h.view(r, "Audit", "audit")
	add(v, "filters", "", func(context.Context) reading[filterForm] { return fresh(filterForm{f, auditActions()}, nil) })
	addRead(v, h.db(), "list", "", func(ctx context.Context, tx pgx.Tx) (listPage[auditLine, int64], error) {
		lines, err := operate.AuditOf(ctx, tx, choice, page)
		return newListPage(f, auditLines(lines), page.Limit, page.After > 0, page.Before > 0, func(l auditLine) int64 { return l.ID }), err
	})
	return v, nil
}
