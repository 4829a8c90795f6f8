package operate

// ListEvents is Events with another bound of how much it reads.
var ListEvents = listEvents
