package operate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"
)

// Args returns the job arguments of the event, as far as they are valid. Detail names what is invalid.
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

// Reason returns why no instance was composed: the letter's detail, or what its status means.
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

// DeadLetterStatuses returns the statuses of the dead letters, in alphabetical order.
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

// DeadLetterAdvice says what a status of dead letters means, and what to do about it.
type DeadLetterAdvice struct {
	Why     string // a sentence without its full stop
	Repair  string // one or two sentences
	Command string // repairs it, or is the next step; "" if there is none
}

var deadLetterAdvice = map[string]DeadLetterAdvice{
	string(jobs.StatusTemplateNotFound): {
		"no template has the ID that the event names",
		"Create the template and retry. If the application used the wrong ID, drop the dead letter and have the application send a correct event.",
		"iuworker templates",
	},
	string(jobs.StatusTemplateNotMarked): {
		"the collection exists and is not marked as a template",
		"Mark it as a template, then retry.", "iuworker templates mark KEY",
	},
	string(jobs.StatusTemplateEmpty): {
		"the template has no active piece",
		"Add pieces to the template, then retry.", "iuworker templates show KEY",
	},
	string(jobs.StatusInstanceKeyConflict): {
		"another event or collection already owns the instance key",
		"Suffixes are global. Drop the dead letter and have the application send the event with another suffix.", "",
	},
	string(jobs.StatusInvalidInput): {
		"the job did not come from the outbox, and its arguments are invalid",
		"Drop the dead letter and correct the program that inserts such jobs.", "",
	},
	"cancelled": {"somebody cancelled the job", "Retry it if the event is still wanted, otherwise drop it.", ""},
	"discarded": {"the job used up its attempts", "The reason names the last error. Fix the cause, then retry.", "iuworker doctor"},
	"deleted":   {"somebody deleted the job before it had finished", "Retry it if the event is still wanted, otherwise drop it.", ""},
	"error": {
		"the job kept failing", "The reason names the last error. Fix the cause, then retry.", "iuworker doctor",
	},
}

// AdviceFor returns what to do about dead letters with a status.
func AdviceFor(status string) DeadLetterAdvice {
	if advice, ok := deadLetterAdvice[status]; ok {
		return advice
	}
	return DeadLetterAdvice{"the event ended without an instance", "Fix what the reason names, then retry.", "iuworker doctor"}
}
