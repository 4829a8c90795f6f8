package worker

// The channels of the doorbells.
const (
	ChannelEvent    = "iu_outbox_event"    // rows came in
	ChannelEmission = "iu_outbox_emission" // something to emit
	ChannelGate     = "iu_outbox_gate"     // a gate moved
)
