package webui

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// detail says which ones a change was about, and how many.
type detail map[string]any

// change makes a change and writes its audit line in one transaction, then logs it. do returns what to keep in the
// line; nil with no error means that nothing was changed, and nothing is kept. It returns the line's id, 0 for none.
func (h *Handler) change(r *http.Request, action string, do func(context.Context, pgx.Tx) (detail, error)) (int64, error) {
	ctx, by := r.Context(), who(r.Context())
	var id int64
	var kept detail
	err := pgx.BeginFunc(ctx, h.cfg.Pool, func(tx pgx.Tx) (err error) {
		if kept, err = do(ctx, tx); err != nil || kept == nil {
			return err
		}
		kept["remote"] = remote(r)
		id, err = operate.RecordAudit(ctx, tx, by.name, action, kept)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", action, err)
	}
	if kept != nil {
		h.cfg.Logger.InfoContext(ctx, "Audit: a change from the pages", slog.String("actor", by.name), slog.String("action", action),
			slog.Any("detail", kept), slog.Int64("audit_id", id))
	}
	return id, nil
}

// detailOf makes an audit line's detail of a struct.
func detailOf(value any) (detail, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var d detail
	err = json.Unmarshal(text, &d)
	return d, err
}
