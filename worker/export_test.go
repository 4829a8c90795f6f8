package worker

// ClaimSQL is the relay's hot statement, for the test of its plan.
const ClaimSQL = claimSQL
