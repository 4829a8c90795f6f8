package listen

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/iu-core/iuworker/sql/dbsession"
)

// Outage logs the loss of something once, not once a try, and its return once. Safe for concurrent use.
type Outage struct {
	Logger *slog.Logger
	What   string // "Listener: connection"

	// Observe is called for each failed try. Default: not.
	Observe func()

	mu    sync.Mutex
	since time.Time
	tries int
}

// Failed notes a failed try and answers how many there were since it last worked. Once ctx has ended it logs nothing.
func (o *Outage) Failed(ctx context.Context, err error) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries++
	if o.Observe != nil {
		o.Observe()
	}
	if o.tries == 1 {
		o.since = time.Now()
		if ctx.Err() == nil {
			attrs := []any{slog.String("error", err.Error())}
			if out := dbsession.WayOut(err); out != "" {
				attrs = append(attrs, slog.String("way_out", out))
			}
			o.Logger.WarnContext(ctx, o.What+" lost; trying again until it is back", attrs...)
		}
	}
	return o.tries
}

// Worked notes that it works.
func (o *Outage) Worked(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tries > 0 {
		o.Logger.InfoContext(ctx, o.What+" is back",
			slog.Duration("after", time.Since(o.since).Round(time.Millisecond)), slog.Int("tries", o.tries))
	}
	o.tries = 0
}

// Tries answers how many tries failed since it last worked.
func (o *Outage) Tries() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tries
}

// Pause waits for d or the end of ctx, and reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Backoff answers the wait before try n (from 1) to reach the database: doubling from 100 ms to 2 s, less up to
// a half at random. It stays short, since others take a silent process for dead after some seconds.
func Backoff(n int) time.Duration {
	wait := 2 * time.Second
	if n < 6 {
		wait = min(wait, 100*time.Millisecond<<max(n-1, 0))
	}
	return wait - rand.N(wait/2) //nolint:gosec // spreads load, guards nothing
}
