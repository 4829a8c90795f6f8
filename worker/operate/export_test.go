package operate

// HistorySQL is the statement of History.
const HistorySQL = historySQL
