package operate

// ScaleoutsSQL is the statement of Scaleouts.
const ScaleoutsSQL = scaleoutsSQL
