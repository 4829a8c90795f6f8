package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
)

// Reason returns in words why no instance was composed: the letter's detail, or what its status means. template is the key
// of its template, or its id if there is no such collection.
func (d DeadLetter) Reason(template, suffix string) string {
	if d.Detail != nil && *d.Detail != "" {
		return *d.Detail
	}
	switch jobs.Status(d.Status) {
	case jobs.StatusTemplateNotFound:
		return fmt.Sprintf("template %s does not exist", template)
	case jobs.StatusTemplateNotMarked:
		return fmt.Sprintf("%s is not marked as a template", template)
	case jobs.StatusTemplateEmpty:
		return fmt.Sprintf("template %s has no active pieces", template)
	case jobs.StatusInstanceKeyConflict:
		return fmt.Sprintf("another event owns the instance key tpl-inst:auto:%s", suffix)
	case jobs.StatusInvalidInput:
		return "the event has an invalid value"
	case "cancelled":
		return "its job was cancelled"
	case "discarded":
		return "its job failed too often"
	default:
		return ""
	}
}

// DeadLetterStatuses returns the statuses that dead letters have, in alphabetical order.
func DeadLetterStatuses(ctx context.Context, q Querier) ([]string, error) {
	statuses, err := Collect(ctx, q, pgx.RowTo[string], `
		WITH RECURSIVE statuses AS (
			SELECT (SELECT d.status FROM iu_outbox.dead_letter AS d ORDER BY d.status LIMIT 1) AS status
			UNION ALL
			SELECT (SELECT d.status FROM iu_outbox.dead_letter AS d WHERE d.status > s.status ORDER BY d.status LIMIT 1)
			FROM statuses AS s WHERE s.status IS NOT NULL
		)
		SELECT s.status FROM statuses AS s WHERE s.status IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("list the statuses of dead letters: %w", err)
	}
	return statuses, nil
}
