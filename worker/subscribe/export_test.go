package subscribe

// PageSQL is the readers' hot statement, for the test of its plan.
var PageSQL = pageAfterSQL
