package operate

// Health is how a check of the doctor went.
type Health string

// What a check can find.
const (
	HealthOK      Health = "ok"
	HealthWarn    Health = "warn"    // it works; somebody should look
	HealthFail    Health = "fail"    // it does not work, or will not for long
	HealthSkipped Health = "skipped" // it could not be asked; Says tells why
)
