package operate

// ListEvents is Events with another limit on the rows that it reads.
var ListEvents = listEvents
