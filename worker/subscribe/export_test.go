package subscribe

// PageSQL exports the statement that readers run, for the test of its plan.
var PageSQL = pageAfterSQL
