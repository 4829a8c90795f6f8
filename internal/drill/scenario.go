package drill

import (
	"context"
	"math/rand/v2"
)

// scenario is a way to break an installation.
type scenario struct {
	name string
	does string

	// obstacle returns why it cannot run here; "" if it can.
	obstacle func(ctx context.Context, d *drill) string

	// run breaks something and mends it. An error means that the installation did not do what it should meanwhile; a
	// skippedError, that the scenario could not be held.
	run func(ctx context.Context, d *drill, rng *rand.Rand) error
}

// skippedError says why a scenario that had begun could not be held.
type skippedError struct{ reason string }

func (e *skippedError) Error() string { return e.reason }

// scenarios are in the order in which --list names them.
var scenarios = []scenario{
	{"kill-workers", "kill -9 of workers, consumers and stream clients, again and again", nothing, killWorkers},
	{"restart-loop", "SIGTERM to workers, consumers and stream clients in a loop, some of them killed while they stop", nothing, restartLoop},
	{"suspend", "SIGSTOP of a worker, a consumer and a stream client for longer than any lease, then SIGCONT", nothing, suspend},
	{"kill-server", "kill -9 of the server's main process, then a restart with crash recovery", ownServer, killServer},
	{"failover", "kill -9 of the primary, and promotion of its synchronous standby", ownServer, failOver},
	{"lossy-failover", "promotion of a standby that was cut off before, so that the server itself loses commits", ownServer, loseCommits},
	{"cut-sessions", "pg_terminate_backend() of sessions at random", nothing, cutSessions},
	{"half-open", "networks that stop forwarding, and close nothing", nothing, halfOpen},
	{"flap-gates", "both gates closed and opened at random", nothing, flapGates},
	{"rollback", "an actor's instances rolled back again and again, while more are composed", nothing, rollBack},
	{"idle-holders", "idle sessions that hold rows, and the keys of events that are to be composed", nothing, idleHolders},
	{"old-snapshot", "a transaction that holds back the xmin horizon", nothing, oldSnapshot},
	{"no-connections", "all connections of the server used up", freeConnections, noConnections},
	{"disk-full", "no space left on the device that holds the tables (a small tmpfs; needs root on Linux)", smallDisk, fillDisk},
}

// List describes a scenario.
type List struct {
	Name string `json:"scenario"`
	Does string `json:"does"`
}

// Scenarios returns the scenarios that Config.Only takes, in the order in which they are listed.
func Scenarios() (list []List) {
	for _, s := range scenarios {
		list = append(list, List{s.name, s.does})
	}
	return list
}

// nothing keeps a scenario from running.
func nothing(context.Context, *drill) string { return "" }

// ownServer keeps a scenario from running on a server that others started.
func ownServer(_ context.Context, d *drill) string {
	if d.cfg.Own == nil {
		return "the server is not the drill's own: run it without a database address"
	}
	return ""
}
