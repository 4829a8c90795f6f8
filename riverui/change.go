package webui

import (
	"log/slog"
	"net/http"

	"github.com/iu-core/iuworker/internal/operate"
)

// operator makes the changes of one request.
type operator struct {
	operate.Operator

	auditIDs []int64 // of what was changed
}

// operator returns the user of a request as an operator whose changes are logged.
func (h *Handler) operator(r *http.Request) *operator {
	by := &operator{}
	by.Operator = operate.Operator{
		Pool: h.cfg.Pool, Actor: who(r.Context()).name, Remote: remote(r),
		Audited: func(line operate.AuditLine) {
			by.auditIDs = append(by.auditIDs, line.ID)
			h.cfg.Logger.InfoContext(r.Context(), "Audit: a change from the pages", slog.String("actor", line.Actor),
				slog.String("action", line.Action), slog.Any("detail", line.Detail), slog.Int64("audit_id", line.ID))
		},
	}
	return by
}

// auditID returns the id of the audit line that tells of the whole change; 0 if there is none.
func (by *operator) auditID() int64 {
	if len(by.auditIDs) != 1 {
		return 0
	}
	return by.auditIDs[0]
}
