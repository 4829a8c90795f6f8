package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/iu-core/iuworker/internal/operate/verify"
	"github.com/iu-core/iuworker/internal/retry"
)

const (
	// firstVerify is how long after the start the first verification begins at the latest.
	firstVerify = 5 * time.Minute
	// verifyRest is the pause after each of its pieces, so that it takes less than half of one connection's time.
	verifyRest = 100 * time.Millisecond
)

// Verifier verifies all data now and then, for the metrics and the log. A session lock says which process does; behind
// a transaction pooler each one does.
type Verifier struct {
	tools

	session  *session // nil: no leader
	interval time.Duration
}

// Run verifies until ctx ends; not at all where the interval is forever.
func (v *Verifier) Run(ctx context.Context) error {
	if v.interval < 0 {
		return nil
	}
	for wait := min(v.interval, firstVerify); retry.Pause(ctx, wait); wait = v.interval {
		if !v.leads(ctx) {
			v.metrics.NotVerifying() // another process does, and tells how it went
			continue
		}
		v.verify(ctx)
	}
	return nil
}

func (v *Verifier) leads(ctx context.Context) bool {
	if v.session == nil {
		return true
	}
	leads, err := v.session.lead(ctx, lockVerifierLeads)
	return err == nil && leads
}

func (v *Verifier) verify(ctx context.Context) {
	start := time.Now()
	report, err := verify.Run(ctx, verify.Config{Pool: v.pool, Rest: verifyRest})
	if err != nil {
		if ctx.Err() == nil {
			v.outage.Failed(ctx, fmt.Errorf("verify all data: %w", err))
		}
		return
	}
	v.outage.Worked(ctx)
	v.metrics.Verified(report.Wrong, time.Now(), time.Since(start))
	if err := verify.Record(ctx, v.pool, report); err != nil && ctx.Err() == nil {
		v.logger.WarnContext(ctx, "Verifier: cannot note how it went", slog.String("error", err.Error()))
	}
	if report.OK() {
		v.logger.InfoContext(ctx, "Verifier: nothing is wrong", slog.Duration("took", time.Since(start)))
		return
	}
	for _, check := range report.Checks {
		if check.Wrong > 0 {
			v.logger.ErrorContext(ctx, "Verifier: data does not agree; to see all of it, run: iuworker verify",
				slog.String("check", check.Name), slog.Int64("wrong", check.Wrong), slog.Any("findings", check.Findings))
		}
	}
}
