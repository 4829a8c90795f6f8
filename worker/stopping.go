package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/iu-core/iuworker/jobs"
)

// ending stops one part after the other. It does not wait longer for a part than its share of the time: a part that hangs on a
// lock or a silent connection continues to stop in the background, and the next parts still stop. late names the parts that
// have not stopped at the end.
type ending struct {
	began time.Time
	by    time.Time

	mu   sync.Mutex
	left []string // the parts that have not stopped yet, in the order of stopping
}

func newEnding(by time.Time) *ending { return &ending{began: time.Now(), by: by} }

// room returns the end less a part of the whole time, or less most if that is shorter.
func (e *ending) room(part float64, most time.Duration) time.Time {
	return e.by.Add(-min(time.Duration(part*float64(e.by.Sub(e.began))), most))
}

// stop stops a part. It returns when the part has stopped, at the latest at until.
func (e *ending) stop(until time.Time, name string, stop func()) {
	e.mu.Lock()
	e.left = append(e.left, name)
	e.mu.Unlock()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
		e.mu.Lock()
		defer e.mu.Unlock()
		if at := slices.Index(e.left, name); at >= 0 {
			e.left = slices.Delete(e.left, at, at+1)
		}
	}()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
	}
}

// end stops the parts of a group together, and reports whether all of them stopped by until.
func (e *ending) end(until time.Time, g *group) bool {
	g.cancel()
	var wg sync.WaitGroup
	for name, ended := range g.parts {
		wg.Go(func() { e.stop(until, name, func() { <-ended }) })
	}
	wg.Wait()
	return g.ended()
}

// ended reports whether all parts have ended.
func (g *group) ended() bool {
	for _, ended := range g.parts {
		select {
		case <-ended:
		default:
			return false
		}
	}
	return true
}

// late returns a *StopError that names the parts that have not stopped, or nil if all have.
func (e *ending) late() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.left) == 0 {
		return nil
	}
	return &StopError{Parts: slices.Clone(e.left), After: time.Since(e.began)}
}

// StopError is the error of Worker.Stop if parts did not stop in time.
type StopError struct {
	Parts []string      // the parts that have not stopped
	After time.Duration // how long Stop waited
}

func (e *StopError) Error() string {
	return fmt.Sprintf("timed out stopping: %s, after %s; their work continues in another process, or after the next start",
		strings.Join(e.Parts, ", "), e.After.Round(100*time.Millisecond))
}

// Unwrap returns context.DeadlineExceeded.
func (*StopError) Unwrap() error { return context.DeadlineExceeded }

// longestStop means no limit.
const longestStop = 365 * 24 * time.Hour

// stop stops the parts in the order in which events pass through them: the parts that take in work, the jobs, the emitter, which
// announces what the jobs composed, and then the parts that all others need. It returns at the latest when ctx ends. Its error
// names the parts that have not stopped; these continue to stop in the background.
func (r *running) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, longestStop)
	defer cancel()
	by, _ := ctx.Deadline()
	e := newEnding(by)
	e.end(e.room(.75, longestStop), &r.taking)
	r.throttle.Lift() // the rate does not apply to jobs that River has already fetched
	jobsEnd, emitterEnd := e.room(.1, time.Second), e.room(.05, time.Second/2)
	e.stop(jobsEnd, "River", func() { r.stopRiver(ctx, e.room(.35, 4*time.Second)) })
	if e.end(emitterEnd, &r.emitting) {
		e.stop(emitterEnd, "emitter", func() { r.emitter.finish(ctx) })
	}
	e.end(by, &r.serving)
	var left error
	e.stop(by, "sign-off", func() { left = r.lease.giveUp(ctx) })
	e.stop(by, "connections", r.close)
	switch late := e.late(); {
	case late != nil:
		return late
	case left != nil && ctx.Err() != nil:
		return &StopError{Parts: []string{"sign-off"}, After: time.Since(e.began)}
	}
	return left
}

// stopRiver waits until jobs have ended, at the latest until a time. It then cancels the others, which will run again.
func (r *running) stopRiver(ctx context.Context, until time.Time) {
	soft, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if err := r.client.Stop(soft); err == nil {
		return
	}
	r.logger.WarnContext(ctx, "Worker: cutting off jobs that outlast the shutdown timeout")
	_ = r.client.StopAndCancel(context.WithoutCancel(ctx)) // it fails only if its context ends
	wakeCtx, cancelWake := context.WithTimeout(ctx, time.Second)
	defer cancelWake()
	_, _ = r.cfg.Pool.Exec(wakeCtx, `
		SELECT pg_catalog.pg_notify($1, pg_catalog.json_build_object('queue', q.queue)::text)
		FROM pg_catalog.unnest($2::text[]) AS q (queue)`,
		jobs.RiverSchema+"."+topicInsert, []string{jobs.QueueEvents, jobs.QueueScaleout}) // others find the jobs by polling, too
}
