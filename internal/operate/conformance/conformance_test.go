package conformance_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/conformance"
	iusql "github.com/iu-core/iuworker/sql"
)

// The report lists foreign grants in addition to the seven classes.
func TestConformanceNamesForeignGrants(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "GRANT UPDATE ON dot_config TO PUBLIC")
	report, err := conformance.Scan(t.Context(), db.Pool)
	require.NoError(t, err)
	require.True(t, report.Passed())
	require.Equal(t, []iusql.ForeignGrant{{
		Grantee: "PUBLIC", Kind: "TABLE", Privileges: []string{"UPDATE"}, Objects: []string{"public.dot_config"},
		Statement: "REVOKE UPDATE ON TABLE public.dot_config FROM PUBLIC CASCADE",
	}}, report.ForeignGrants)
}
