package history

// ReadSQL is the statement of Read.
const ReadSQL = historySQL
