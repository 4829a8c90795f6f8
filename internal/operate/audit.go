package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// Audit returns up to limit audit lines with an id below before (0: from the end), latest first.
func Audit(ctx context.Context, q Querier, before int64, limit int) ([]AuditLine, error) {
	return AuditOf(ctx, q, AuditChoice{}, IDPage{Before: before, Limit: limit})
}

// AuditChoice chooses audit lines; its zero value chooses all.
type AuditChoice struct {
	Actor  string // "" means any
	Action string // such as gate.open, or gate for all that begin with gate.; "" means any
	Since  time.Time
	Until  time.Time
}

// AuditOf returns a page of audit lines, latest first.
func AuditOf(ctx context.Context, q Querier, choice AuditChoice, page IDPage) ([]AuditLine, error) {
	conditions, args := []string{"true"}, []any{page.Limit}
	narrow := func(condition string, value any) {
		args = append(args, value)
		conditions = append(conditions, fmt.Sprintf(condition, len(args)))
	}
	if choice.Actor != "" {
		narrow("a.actor = $%d", choice.Actor)
	}
	switch {
	case strings.Contains(choice.Action, "."):
		narrow("a.action = $%d", choice.Action)
	case choice.Action != "":
		narrow("(a.action = $%[1]d OR pg_catalog.starts_with(a.action, $%[1]d || '.'))", choice.Action)
	}
	if !choice.Since.IsZero() {
		narrow("a.at >= $%d", choice.Since)
	}
	if !choice.Until.IsZero() {
		narrow("a.at < $%d", choice.Until)
	}
	order := "DESC"
	switch {
	case page.After > 0:
		narrow("a.id > $%d", page.After)
		order = "ASC"
	case page.Before > 0:
		narrow("a.id < $%d", page.Before)
	}
	rows, err := q.Query(ctx, `
		SELECT a.id, a.at, a.actor, a.action, a.detail FROM iu_outbox.audit AS a
		WHERE `+strings.Join(conditions, " AND ")+` ORDER BY a.id `+order+` LIMIT $1`, args...)
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowToStructByPos[AuditLine])
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	if page.After > 0 {
		slices.Reverse(lines)
	}
	return lines, nil
}
