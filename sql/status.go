package iusql

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	applied = "applied"
	pending = "pending"
)

// VersionStatus is the state of one version.
type VersionStatus struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	State     string     `json:"state"`                // applied or pending
	AppliedAt *time.Time `json:"applied_at,omitempty"` // in UTC, nil while pending
	Origin    string     `json:"origin,omitempty"`     // created or adopted, if it can be either
}

// The values of StatusReport.Functions.
const (
	FunctionsCurrent = "current" // those of this program
	FunctionsPending = "pending" // Up would install this program's
	FunctionsNewer   = "newer"   // a newer program installed them
)

// StatusReport is what a database has of this program's schema.
type StatusReport struct {
	Database  string          `json:"database"`
	Versions  []VersionStatus `json:"versions"`  // all that this program knows or the database has, in order
	Functions string          `json:"functions"` // one of the constants above
	Current   bool            `json:"current"`   // Up has nothing to do
}

// Status returns what the database has. It takes no lock and changes nothing.
func Status(ctx context.Context, cfg Config) (report *StatusReport, err error) {
	err = inSession(ctx, cfg, func(s *session) error {
		st, err := s.state(ctx)
		if err == nil {
			report = st.report()
		}
		return err
	})
	return report, err
}

func (st *state) report() *StatusReport {
	report := &StatusReport{Database: st.database, Functions: FunctionsPending, Current: st.current()}
	all := slices.AppendSeq(slices.Clone(versions), maps.Keys(st.applied))
	slices.Sort(all)
	for _, version := range slices.Compact(all) {
		status := VersionStatus{Version: version, Name: versionName(version), State: pending}
		if at, ok := st.applied[version]; ok {
			status.State, status.AppliedAt, status.Origin = applied, &at, st.origins[originOf[version]]
		}
		report.Versions = append(report.Versions, status)
	}
	switch {
	case st.schema.Newer():
		report.Functions = FunctionsNewer
	case st.schema.currentFunctions():
		report.Functions = FunctionsCurrent
	}
	return report
}

// originOf maps a version that may have existed before us to its name in iu_migration.origin.
var originOf = map[int64]string{
	versionBaseline: originBaseline, versionInstantiate: originInstantiate, versionRiver: originRiver,
}
