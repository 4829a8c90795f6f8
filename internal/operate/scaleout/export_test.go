package scaleout

// ListSQL is the statement of List.
const ListSQL = listSQL
