package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"

	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/retry"
)

const (
	watchEvery = time.Second
	watchShare = 5 // reading takes at most this part of the time: one fifth
)

// watched shows the progress of a scale-out: a bar on a terminal, elsewhere a line for each change.
type watched struct {
	total    int64
	began    time.Time
	atBegin  int64
	bar      *progressbar.ProgressBar
	w        io.Writer
	lastText string
}

// watchScaleout shows the progress of a scale-out until none of its total jobs is left. It returns false if ctx ended before;
// the jobs continue then.
func (a *app) watchScaleout(ctx context.Context, pool *pgxpool.Pool, prefix string, total int64) (ended bool, err error) {
	shown := &watched{total: total, began: time.Now(), atBegin: -1, w: a.stderr}
	if isTerminal(a.stderr) {
		shown.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionShowCount(), progressbar.OptionSetWidth(16),
			progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true))
		defer func() { _ = shown.bar.Clear() }() // a terminal that cannot be written to shows nothing anyway
	}
	for {
		began := time.Now()
		left, err := scaleout.ReadLeft(ctx, pool, prefix)
		if ctx.Err() != nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		shown.show(left, time.Now())
		if left.Unfinished() == 0 {
			return true, nil
		}
		if !retry.Pause(ctx, max(watchEvery, (watchShare-1)*time.Since(began))) {
			return false, nil
		}
	}
}

func (s *watched) show(left scaleout.Left, now time.Time) {
	composed := max(s.total-left.Unfinished()-left.DeadLetters, 0)
	if s.atBegin < 0 {
		s.atBegin = composed
	}
	text := progressText(left, rateOf(composed-s.atBegin, now.Sub(s.began)))
	if s.bar != nil {
		s.bar.Describe(text)
		_ = s.bar.Set64(min(composed, s.total)) // a terminal that cannot be written to shows nothing anyway
		return
	}
	line := fmt.Sprintf("composed %d of %d, %s", composed, s.total, text)
	if line != s.lastText {
		fmt.Fprintln(s.w, line)
	}
	s.lastText = line
}

// rateOf returns n per second; 0 if it is too early to know.
func rateOf(n int64, in time.Duration) float64 {
	if n <= 0 || in < watchEvery/2 {
		return 0
	}
	return float64(n) / in.Seconds()
}

// progressText returns what a bar does not show.
func progressText(left scaleout.Left, rate float64) string {
	parts := []string{fmt.Sprintf("%d left", left.Unfinished())}
	if rate > 0 && left.Unfinished() > 0 {
		parts = append(parts, fmt.Sprintf("%.0f/s", rate),
			"about "+short(seconds(float64(left.Unfinished())/rate))+" to go")
	}
	for _, some := range []struct {
		n    int64
		what string
	}{{left.DeadLetters, "failed"}, {left.Retrying, "to be retried"}, {left.Parked, "parked"}} {
		if some.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", some.n, some.what))
		}
	}
	if left.QueuePaused {
		parts = append(parts, "paused")
	}
	return strings.Join(parts, ", ")
}

// sayHowToWatch tells a user who stops watching that the jobs continue.
func (a *app) sayHowToWatch(prefix string) {
	fmt.Fprintf(a.stderr, "the jobs continue; to watch them again, run: iuworker scaleout status --watch %s\n", shellWord(prefix))
}

// failures returns an error if some jobs ended as dead letters.
func failures(state scaleout.Status) error {
	if state.DeadLetters == 0 {
		return nil
	}
	return fmt.Errorf("%d jobs of the scale-out %q ended as dead letters; to see why, run: iuworker dead-letters list", state.DeadLetters, state.Prefix)
}
