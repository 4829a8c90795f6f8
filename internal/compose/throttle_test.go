package compose

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThrottleSizesBatchesAndFetches(t *testing.T) {
	t.Parallel()
	for perSecond, want := range map[int][2]int{0: {MaxBatch, 500}, 1: {1, 2}, 10: {1, 20}, 200: {20, 400}, 5000: {MaxBatch, 500}} {
		throttle := NewThrottle(perSecond)
		require.Equal(t, want, [2]int{throttle.most(), throttle.Jobs(500)}, perSecond)
	}
}

func TestThrottleIsLiftedForThoseWhoWait(t *testing.T) {
	t.Parallel()
	throttle := NewThrottle(1)
	throttle.wait(1) // the burst
	waited := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(waited)
		for range 100 {
			throttle.wait(1)
		}
	}()
	throttle.Lift()
	<-waited
	require.Less(t, time.Since(start), time.Minute)
}
