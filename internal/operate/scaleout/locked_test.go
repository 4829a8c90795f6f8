package scaleout_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
)

// A second run does not wait for transactions that have locked jobs of the first.
func TestScaleoutAmongLockedJobs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	cfg := scaleout.Config{Pool: db.Pool, Template: db.Template(t, "t", 1), Count: 20, Prefix: "p", EventType: "e", EmitMode: "live", Actor: "me"}
	_, err := scaleout.Start(t.Context(), cfg)
	require.NoError(t, err)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM iu_river.river_job ORDER BY id LIMIT 5 FOR UPDATE")
	require.NoError(t, err)
	cfg.Count = 50
	_, err = scaleout.Start(t.Context(), cfg)
	require.NoError(t, err)
	var jobs int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_river.river_job").Scan(&jobs))
	require.Equal(t, 50, jobs)
}
