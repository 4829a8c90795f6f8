package operate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/operate"
)

func TestHistoryQuick(t *testing.T) {
	t.Parallel()
	b := setupTrace(t)
	b.compose(t, "live")
	b.job(t, "completed", `{"output": {"status": "instantiated"}}`)
	b.Exec(t, "SELECT iu_outbox.emit(10)")
	b.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'mail', epoch, 0 FROM iu_outbox.emission_counter")
	for range 3 {
		b.Exec(t, "SELECT iu_outbox.write_history()")
	}
	s, err := operate.History(t.Context(), b.Pool, time.Hour)
	require.NoError(t, err)
	require.Len(t, s.Points, 60)
	t.Logf("%+v", s.Points[59])
	t.Logf("%+v", s.Points[58])
	c, err := operate.ConsumerHistory(t.Context(), b.Pool, time.Hour)
	require.NoError(t, err)
	t.Logf("%+v", c)
	tt, err := operate.TemplateHistory(t.Context(), b.Pool, time.Hour, 8)
	require.NoError(t, err)
	t.Logf("%+v", tt)
	p, err := operate.ReadPaces(t.Context(), b.Pool)
	require.NoError(t, err)
	t.Logf("%+v", p)
}
