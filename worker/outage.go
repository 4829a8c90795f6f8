package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// outage logs the loss of something once, not once a try, and its return once. Safe for concurrent use.
type outage struct {
	logger *slog.Logger
	what   string // "Listener: connection"

	mu    sync.Mutex
	since time.Time
	tries int
}

// failed notes a failed try and answers how many there were since it last worked.
func (o *outage) failed(ctx context.Context, err error) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tries++
	if o.tries == 1 {
		o.since = time.Now()
		if ctx.Err() == nil {
			o.logger.WarnContext(ctx, o.what+" lost; trying again until it is back", slog.String("error", err.Error()))
		}
	}
	return o.tries
}

// worked notes that it works.
func (o *outage) worked(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tries > 0 {
		o.logger.InfoContext(ctx, o.what+" is back",
			slog.Duration("after", time.Since(o.since).Round(time.Millisecond)), slog.Int("tries", o.tries))
	}
	o.tries = 0
}
