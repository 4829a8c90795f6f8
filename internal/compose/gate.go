package compose

import (
	"fmt"

	"github.com/iu-core/iuworker/jobs"
)

// RefusedError is the error of a job whose event the function refused permanently: another try would return
// the same until the event or the template is changed.
type RefusedError struct {
	Status jobs.Status
	Detail string
}

// Error returns "status" or "status: detail".
func (e *RefusedError) Error() string {
	if e.Detail == "" {
		return string(e.Status)
	}
	return fmt.Sprintf("%s: %s", e.Status, e.Detail)
}

// Gate is one of the two switches that hold composing back.
type Gate string

// The gates, as the command line names them.
const (
	GateComposer        Gate = "composer"
	GateAutoInstantiate Gate = "auto-instantiate"
)

// ConfigKey returns the gate's key in public.dot_config.
func (g Gate) ConfigKey() string {
	if g == GateComposer {
		return "iu_core.composer_enabled"
	}
	return "iu_core.auto_instantiate_enabled"
}

// OpenCommand returns the command that opens the gate.
func (g Gate) OpenCommand() string { return "iuworker gate open " + string(g) }

// closedGate returns the gate that a status says is closed.
func closedGate(s jobs.Status) (Gate, bool) {
	switch s {
	case jobs.StatusComposerDisabled:
		return GateComposer, true
	case jobs.StatusLiveGateClosed:
		return GateAutoInstantiate, true
	default:
		return "", false
	}
}
