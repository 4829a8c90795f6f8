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
	Detail json.RawMessage `json:"detail"` // an object: what was changed, and how many
}

// Audit returns up to limit audit lines with an id below before (0: any id), latest first.
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
	which := condition{args: []any{page.Limit}}
	which.and(choice.Actor != "", "a.actor = $%d", choice.Actor)
	if strings.Contains(choice.Action, ".") {
		which.and(true, "a.action = $%d", choice.Action)
	} else {
		which.and(choice.Action != "", "(a.action = $%[1]d OR pg_catalog.starts_with(a.action, $%[1]d || '.'))", choice.Action)
	}
	which.and(!choice.Since.IsZero(), "a.at >= $%d", choice.Since)
	which.and(!choice.Until.IsZero(), "a.at < $%d", choice.Until)
	which.and(page.After > 0, "a.id > $%d", page.After)
	which.and(page.Before > 0, "a.id < $%d", page.Before)
	order := "DESC"
	if page.After > 0 {
		order = "ASC"
	}
	lines, err := Collect(ctx, q, pgx.RowToStructByPos[AuditLine], `
		SELECT a.id, a.at, a.actor, a.action, a.detail FROM iu_outbox.audit AS a
		WHERE `+which.String()+` ORDER BY a.id `+order+` LIMIT $1`, which.args...)
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	if page.After > 0 {
		slices.Reverse(lines)
	}
	return lines, nil
}
