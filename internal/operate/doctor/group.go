package doctor

// Groups of checks, in the order in which they are shown.
const (
	GroupServer        = "Server"
	GroupSchema        = "Schema and privileges"
	GroupFlow          = "Flow of events"
	GroupNotifications = "Notifications"
	GroupLoad          = "Load and clean-up"
)

// Groups are the groups of checks in their order.
func Groups() []string {
	return []string{GroupFlow, GroupNotifications, GroupServer, GroupSchema, GroupLoad}
}

var groups = map[string]string{
	"connection": GroupServer, "server": GroupServer, "clock": GroupServer, "direct": GroupServer, "times": GroupServer,
	"settings": GroupServer, "sessions": GroupServer, "pool": GroupServer,

	"installation": GroupSchema, "collations": GroupSchema, "schema": GroupSchema, "row security": GroupSchema, "privileges": GroupSchema,
	"logins": GroupSchema, "foreign grants": GroupSchema, "triggers": GroupSchema, "sequences": GroupSchema, "indexes": GroupSchema,
	"conformance": GroupSchema,

	"event type": GroupFlow, "route": GroupFlow, "gates": GroupFlow, "workers": GroupFlow, "outbox": GroupFlow, "jobs": GroupFlow,
	"queues": GroupFlow, "retries": GroupFlow, "parked": GroupFlow, "dead letters": GroupFlow, "emissions": GroupFlow, "consumers": GroupFlow,

	"listener": GroupNotifications, "notifications": GroupNotifications, "payload": GroupNotifications, "listeners": GroupNotifications,

	"locks": GroupLoad, "transactions": GroupLoad, "prepared": GroupLoad, "slots": GroupLoad, "replicas": GroupLoad, "horizon": GroupLoad,
	"vacuum": GroupLoad,
}

// Group returns the group that a check belongs to.
func (c Check) Group() string { return groups[c.Check] }
