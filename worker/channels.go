package worker

import "github.com/iu-core/iuworker/internal/names"

// The channels of the doorbells.
const (
	ChannelEvent    = names.ChannelEvent    // rows came in
	ChannelEmission = names.ChannelEmission // something to emit
	ChannelGate     = names.ChannelGate     // a gate moved
)
