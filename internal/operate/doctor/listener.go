package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/iu-core/iuworker/internal/listen"
)

// listener sends a notification through the pool and waits for it where a worker listens.
func (e *examination) listener(ctx context.Context) (Check, error) {
	ctx, cancel := context.WithTimeout(ctx, listen.ProbeTimeout+checkTimeout)
	defer cancel()
	start := time.Now()
	works, err := listen.Works(ctx, e.cfg.Pool, e.cfg.Direct)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return Check{}, err
	case err != nil:
		return failed("no notification could be sent: %s", e.cfg.Explain(err)).
			so("pass an address where LISTEN works as --direct-database-url"), nil
	case !works:
		return warn("a notification does not arrive within %s: there is a transaction pooler in between", listen.ProbeTimeout).
			so("workers poll, which costs latency: pass the server's own address as --direct-database-url, too", "iuworker work --direct-database-url ..."), nil
	}
	return fine("a notification arrives in %s, connecting included", time.Since(start).Round(time.Millisecond)), nil
}
