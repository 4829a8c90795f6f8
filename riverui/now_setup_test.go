package webui_test

import (
	_ "embed"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// busySQL fills a database like that of a medium-sized shop: seven days of history, 61 templates, 39,000 announced events, 99
// dead letters, six consumers of which two are far behind, 10,412 jobs parked at a gate that ann closed just now, and a
// paused queue.
//
//go:embed testdata/busy.sql
var busySQL string

func fillBusy(t *testing.T, db *iutest.DB) {
	t.Helper()
	_, err := db.Pool.Exec(t.Context(), busySQL)
	require.NoError(t, err)
}
