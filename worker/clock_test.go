package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClockIsTheServers(t *testing.T) {
	t.Parallel()
	var c clock
	from := time.Now()
	for _, ahead := range []time.Duration{-8 * time.Second, time.Hour, 0} {
		c.set(from.Add(ahead), from, from.Add(time.Millisecond))
		require.InDelta(t, ahead.Seconds(), time.Until(c.Now()).Seconds(), 1)
	}
	c.set(from.Add(8*time.Second), from, from)
	before := c.ahead.Load()
	c.set(from.Add(8*time.Second), from, from.Add(5*time.Second))
	require.Equal(t, before, c.ahead.Load(), "a slow answer says nothing new")
	require.Nil(t, c.NowOrNil())
}
