package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/iu-core/iuworker/internal/operate/verify"
	"github.com/iu-core/iuworker/internal/retry"
)

const (
	// firstVerify is the longest wait for the first verification after a start.
	firstVerify = 5 * time.Minute
	// verifyRest lets a verification take a fifth of one connection's time, however busy the server is.
	verifyRest = 4
)

// verifier verifies all data at an interval, for the metrics and the log. A session lock says which process does; behind a
// transaction pooler each process does.
type verifier struct {
	tools

	session  *session // nil: no leader
	interval time.Duration
}

// run verifies until ctx ends, never if the interval is negative.
func (v *verifier) run(ctx context.Context) error {
	if v.interval < 0 {
		return nil
	}
	wait := min(v.interval, firstVerify)
	wait -= rand.N(wait/2 + 1) //nolint:gosec // keeps the workers of many databases, which start together, from verifying together
	for ; retry.Pause(ctx, wait); wait = v.interval {
		if !v.session.leads(ctx, lockVerifierLeads) {
			v.metrics.NotVerifying() // another process does, and its metrics say how it went
			continue
		}
		v.verify(ctx)
	}
	return nil
}

func (v *verifier) verify(ctx context.Context) {
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
		v.logger.WarnContext(ctx, "Verifier: cannot record the result", slog.String("error", err.Error()))
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
