package history

// ReadSQL is the statement of History.
const ReadSQL = historySQL
