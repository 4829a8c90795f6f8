package iusql

import "time"

const (
	applied = "applied"
	pending = "pending"
)

// VersionStatus is what became of one version.
type VersionStatus struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	State     string     `json:"state"`                // applied or pending
	AppliedAt *time.Time `json:"applied_at,omitempty"` // nil while pending
	Origin    string     `json:"origin,omitempty"`     // created or adopted, where it can be either
}
