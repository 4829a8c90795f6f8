// Package names holds the names that Go and SQL share. A test compares them with the database's own.
package names

// EventType is the type of the events that announce instances, and the channel on which they are announced.
const EventType = "iu.template.instance_auto_composed"

// RiverSchema is the schema that holds River's tables.
const RiverSchema = "iu_river"

// The channels of the doorbells.
const (
	ChannelEvent    = "iu_outbox_event"    // events were inserted
	ChannelEmission = "iu_outbox_emission" // emissions need a position
	ChannelGate     = "iu_outbox_gate"     // a gate was opened or closed
)

// The roles, each with the privileges of one kind of login.
const (
	RoleApp        = "iu_app"
	RoleWorker     = "iu_worker"
	RoleOperator   = "iu_operator"
	RoleSubscriber = "iu_subscriber"
)

// Roles lists the four roles.
var Roles = []string{RoleApp, RoleWorker, RoleOperator, RoleSubscriber}

// RolesSQL is the list of the roles for the operator IN.
const RolesSQL = "('" + RoleApp + "', '" + RoleWorker + "', '" + RoleOperator + "', '" + RoleSubscriber + "')"
