package operate

// Health is the result of a check of the doctor.
type Health string

// What a check can find.
const (
	HealthOK      Health = "ok"
	HealthWarn    Health = "warn"    // it works, but needs attention
	HealthFail    Health = "fail"    // it does not work, or soon will not
	HealthSkipped Health = "skipped" // it could not be checked; Says has the reason
)
