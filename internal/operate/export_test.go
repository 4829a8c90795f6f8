package operate

// ScaleoutsSQL is the statement of Scaleouts, and KeyOfSuffixSQL finds the event of a suffix that has no instance.
const (
	ScaleoutsSQL   = scaleoutsSQL
	KeyOfSuffixSQL = keyOfSuffixSQL
)
