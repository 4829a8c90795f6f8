package status_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestJudgeConsumers(t *testing.T) {
	t.Parallel()
	lag, short, long := int64(3), 10.0, 1000.0
	process, cause := "p", "no room"
	for _, test := range []struct {
		consumer subscribe.Consumer
		want     operate.Health
	}{
		{subscribe.Consumer{State: "ok", LagEvents: &lag, LagSeconds: &short}, operate.HealthOK},
		{subscribe.Consumer{State: "ok", LagEvents: &lag, LagSeconds: &long, Process: &process}, operate.HealthWarn},
		{subscribe.Consumer{State: "ok", LagEvents: &lag, LagSeconds: &long}, operate.HealthWarn},
		{subscribe.Consumer{State: "ok", Tries: 1, LastError: &cause}, operate.HealthWarn},
		{subscribe.Consumer{State: "ok", DeadLetters: 1}, operate.HealthWarn},
		{subscribe.Consumer{State: "pruned"}, operate.HealthFail},
		{subscribe.Consumer{State: "rewound"}, operate.HealthFail},
	} {
		result, says := status.JudgeConsumer(test.consumer)
		require.Equal(t, test.want, result, "%+v", test)
		require.Equal(t, result == operate.HealthOK, says == "", "%+v", test)
	}
}
