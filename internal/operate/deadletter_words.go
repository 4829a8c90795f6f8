package operate

import (
	"github.com/iu-core/iuworker/jobs"
)

// DeadLetterAdvice says what a status of dead letters means, and what to do about it.
type DeadLetterAdvice struct {
	Why     string // a sentence without its full stop
	Repair  string // one or two sentences
	Command string // that repairs it or is the next step; "" if there is none
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

// AdviceFor returns what to do about the dead letters of a status.
func AdviceFor(status string) DeadLetterAdvice {
	if advice, ok := deadLetterAdvice[status]; ok {
		return advice
	}
	return DeadLetterAdvice{"the event ended without an instance", "Fix what the reason names, then retry.", "iuworker doctor"}
}
