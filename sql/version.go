package iusql

import "cmp"

// ProgramVersion is this program's version, without a leading v.
const ProgramVersion = "0.1.0"

// SchemaVersion is the schema that this program works on and migrates to.
const SchemaVersion = versionShared

// minProgramVersion is the oldest program that may work on SchemaVersion. A release that raises SchemaVersion keeps
// this at the release before it, so that both work during a rolling deployment.
const minProgramVersion = "0.1.0"

const (
	versionBaseline    = 32 // iu-core up to 032, created or adopted
	versionInstantiate = 33 // auto-instantiate, created or adopted
	versionOutbox      = 34 // iu_outbox
	versionRiver       = 35 // iu_river
	versionShared      = 36 // what a shared database needs
)

// versions lists all versions, in order.
var versions = []int64{versionBaseline, versionInstantiate, versionOutbox, versionRiver, versionShared}

var versionNames = map[int64]string{
	versionBaseline: "iu-core baseline", versionInstantiate: "auto-instantiate from event", versionOutbox: "outbox",
	versionRiver: "river", versionShared: "shared database",
}

func versionName(version int64) string {
	return cmp.Or(versionNames[version], "unknown to this program")
}
