package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// AuditLine says who changed what, and when.
type AuditLine struct {
	ID     int64           `json:"id"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"` // such as gate.open
	Detail json.RawMessage `json:"detail"` // an object: which ones, how many
}

// RecordAudit writes an audit line and answers its id. Call it in the transaction that makes the change, so that there
// is neither without the other. detail becomes a JSON object.
func RecordAudit(ctx context.Context, q Querier, actor, action string, detail any) (id int64, err error) {
	text, err := json.Marshal(detail)
	if err != nil {
		return 0, fmt.Errorf("write an audit line: %w", err)
	}
	err = q.QueryRow(ctx, `
		INSERT INTO iu_outbox.audit (actor, action, detail) VALUES ($1, $2, $3) RETURNING id`,
		actor, action, string(text)).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("write an audit line: %w", err)
	}
	return id, nil
}

// Audit answers up to limit audit lines with an id below before (0: from the end), youngest first.
func Audit(ctx context.Context, q Querier, before int64, limit int) ([]AuditLine, error) {
	rows, err := q.Query(ctx, `
		SELECT a.id, a.at, a.actor, a.action, a.detail FROM iu_outbox.audit AS a
		WHERE $1 = 0 OR a.id < $1
		ORDER BY a.id DESC
		LIMIT $2`, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[AuditLine])
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	return lines, nil
}
