package eventstream_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

// Events that row security hides from the worker's login are not reported as pruned, because the client would accept a gap.
func TestHiddenEventsAreNotReportedAsPruned(t *testing.T) {
	t.Parallel()
	iutest.New(t).URLAs("iu_worker") // to allow its login
	s := setupStreaming(t, func(events *eventstream.Config, _ *webui.Config) {
		cfg := events.Pool.Config()
		cfg.ConnConfig.User = "iu_worker"
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), cfg)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		events.Pool = pool
	})
	s.announce(t, 3)
	s.Exec(t, "ALTER TABLE iu_outbox.emission ENABLE ROW LEVEL SECURITY")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/events?after=1", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.NotEqual(t, http.StatusGone, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NotContains(t, string(body), "pruned")
	require.Contains(t, string(body), "row security hides rows")
}
