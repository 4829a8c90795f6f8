package operate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
)

// Args returns the job arguments that the event has, as far as it fits: what does not is told by the detail.
func (d DeadLetter) Args() (args jobs.AutoInstantiateArgs) {
	_ = json.Unmarshal(d.Event, &args)
	return args
}

// Template returns the key of the template, or its id if there is no such collection.
func (d DeadLetter) Template() string {
	if d.TemplateKey != nil {
		return *d.TemplateKey
	}
	return d.Args().TemplateCollectionID.String()
}

// Reason returns in words why no instance was composed: the letter's detail, or what its status means.
func (d DeadLetter) Reason() string {
	if d.Detail != nil && *d.Detail != "" {
		return *d.Detail
	}
	switch jobs.Status(d.Status) {
	case jobs.StatusTemplateNotFound:
		return "template " + d.Template() + " does not exist"
	case jobs.StatusTemplateNotMarked:
		return d.Template() + " is not marked as a template"
	case jobs.StatusTemplateEmpty:
		return "template " + d.Template() + " has no active pieces"
	case jobs.StatusInstanceKeyConflict:
		return "another event owns the instance key tpl-inst:auto:" + d.Args().InstanceKeySuffix
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
