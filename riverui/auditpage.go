package webui

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/worker/operate"
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

func (d auditDetail) did(action string) string {
	switch action {
	case "gate.open":
		return "opened the gate " + d.Gate + d.parked()
	case "gate.close":
		return "closed the gate " + d.Gate
	case "dead_letter.retry":
		return "retried " + d.letters()
	case "dead_letter.drop":
		return "dropped " + d.letters()
	case "rollback":
		return "rolled back " + d.Actor + d.rolledBack()
	case "job.cancel", "job.retry", "job.delete":
		return d.jobs(action)
	case "queue.pause":
		return "paused the queue " + d.Queue
	case "queue.resume":
		return "resumed the queue " + d.Queue
	case "queue.update":
		return "changed the queue " + d.Queue
	case "scaleout.cancel":
		return fmt.Sprintf("cancelled %s jobs of the scale-out %s", number(*cmp.Or(d.Count, new(int64))), d.Prefix)
	case "template.create":
		return "created the template " + d.Template
	case "template.mark":
		return "marked the template " + d.Template
	case "template.unmark":
		return "unmarked the template " + d.Template
	case "event.test":
		return "sent a test event for " + d.Template + d.mode()
	case "actor.cancel":
		return fmt.Sprintf("cancelled %s jobs of %s", number(*cmp.Or(d.Count, new(int64))), d.Actor)
	case "setting.set":
		return "set " + d.Name + " to " + d.Value
	case "consumer.reset":
		text := "moved the consumer " + d.Consumer + " to " + d.To
		if d.Skipped > 0 {
			text += ", skipping " + plural(operate.Count{N: d.Skipped}, "event", "events")
		}
		return text
	case "consumer.delete":
		return "deleted the consumer " + d.Consumer
	case "consumer.replay":
		return "had the consumer " + d.Consumer + " handle " + d.letters() + " again"
	case "consumer.drop":
		return "dropped " + d.letters() + " of the consumer " + d.Consumer
	default:
		return "did " + action
	}
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
	return "; parked jobs that run again: " + d.Parked
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

func (d auditDetail) jobs(action string) string {
	did := map[string]string{"job.cancel": "cancelled", "job.retry": "retried", "job.delete": "deleted"}[action]
	ids := make([]string, 0, len(d.IDs))
	for _, id := range d.IDs {
		ids = append(ids, strings.Trim(string(id), `"`))
	}
	const named = 5
	if len(ids) > named {
		return fmt.Sprintf("%s %d jobs: %s and others", did, len(ids), strings.Join(ids[:named], ", "))
	}
	if len(ids) == 1 {
		return did + " job " + ids[0]
	}
	return did + " jobs " + strings.Join(ids, ", ")
}

type auditPage struct {
	page
	Lines []auditLine
	Older int64 // the lines below this id are on the next page; 0: there are none
}

func (h *Handler) auditPage(w http.ResponseWriter, r *http.Request) {
	const rows = 100
	var before int64
	if text := r.URL.Query().Get("before"); text != "" {
		var err error
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			h.say(w, r, http.StatusBadRequest, "before must be the number of an audit line, and is not")
			return
		}
	}
	var lines []operate.AuditLine
	err := h.db().read(r.Context(), func(tx pgx.Tx) (err error) {
		lines, err = operate.Audit(r.Context(), tx, before, rows+1)
		return err
	})
	if err != nil {
		h.fail(w, r, err)
		return
	}
	p := &auditPage{page: h.page(r, "Audit")}
	if len(lines) > rows {
		lines = lines[:rows]
		p.Older = lines[rows-1].ID
	}
	p.Lines = auditLines(lines)
	h.render(w, r, http.StatusOK, "audit.html", p)
}
