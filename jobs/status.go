package jobs

// Status is the outcome of an event, as the SQL function returns it.
type Status string

// The statuses of fn_iu_auto_instantiate_from_event.
const (
	StatusInvalidInput        Status = "invalid_input"
	StatusLiveGateClosed      Status = "live_gate_closed"
	StatusComposerDisabled    Status = "composer_disabled"
	StatusTemplateNotFound    Status = "template_not_found"
	StatusTemplateNotMarked   Status = "template_not_marked"
	StatusTemplateEmpty       Status = "template_empty"
	StatusIdempotentReplay    Status = "idempotent_replay"
	StatusInstanceKeyConflict Status = "instance_key_conflict"
	StatusInstantiated        Status = "instantiated"
)

// StatusError is the status in a job's output if the SQL function failed. The error is in its detail.
const StatusError Status = "error"
