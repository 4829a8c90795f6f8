package subscribe

import "time"

// PageSQL exports the statement that readers run, for the test of its plan.
var PageSQL = pageAfterSQL

// Whether tests read a standby must not depend on how long a busy machine takes to check it.
func init() { checkTimeout = time.Minute } //nolint:gochecknoinits // it applies to all tests
