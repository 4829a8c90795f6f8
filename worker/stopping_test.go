package worker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEndingNamesWhatDoesNotStop(t *testing.T) {
	t.Parallel()
	hang, slow := make(chan struct{}), make(chan struct{})
	e := newEnding(time.Now().Add(time.Second))
	e.stop(time.Now(), "hangs", func() { <-hang })
	e.stop(time.Now(), "slow", func() { <-slow })
	stopped := false
	e.stop(time.Now().Add(time.Hour), "quick", func() { stopped = true })
	require.True(t, stopped, "what hangs keeps no other from stopping")
	close(slow)
	require.Eventually(t, func() bool {
		late, ok := e.late().(*StopError) //nolint:errorlint // as it is
		return ok && len(late.Parts) == 1
	}, time.Minute, time.Millisecond, "what took longer than its share, and has stopped since, is not late")
	late := e.late()
	require.ErrorContains(t, late, "timed out stopping: hangs, after ")
	require.ErrorIs(t, late, context.DeadlineExceeded)
	close(hang)
	require.Eventually(t, func() bool { return e.late() == nil }, time.Minute, time.Millisecond)
}

func TestEndingEndsAGroupsPartsTogether(t *testing.T) {
	t.Parallel()
	g := newGroup(t.Context())
	r := &running{}
	hang := make(chan struct{})
	r.start(&g, "hangs", func(context.Context) error { <-hang; return nil })
	r.start(&g, "ends", func(ctx context.Context) error { <-ctx.Done(); return nil })
	e := newEnding(time.Now().Add(time.Second))
	require.False(t, e.end(time.Now().Add(50*time.Millisecond), &g))
	require.Eventually(t, func() bool {
		late, ok := e.late().(*StopError) //nolint:errorlint // as it is
		return ok && len(late.Parts) == 1 && late.Parts[0] == "hangs"
	}, time.Minute, time.Millisecond)
	close(hang)
	require.True(t, newEnding(time.Now().Add(time.Hour)).end(time.Now().Add(time.Minute), &g))
}
