package subscribe

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
)

const tailPage = 200

// reads counts the tail's reads: a caller can wait for one that began after its call.
type reads struct {
	begun, ended int
	end          mark          // the end of the history at the last successful read
	err          error         // of the last read
	done         chan struct{} // closed and replaced when a read ends
}

// run reads until the tail is stopped or has had no followers for Linger.
func (t *Tail) run() {
	ctx, cancel := context.WithCancel(t.life)
	announced := newAnnouncements(t.cfg.Pool, t.cfg.Direct, t.cfg.PollInterval, "Tail", t.logger)
	t.running.Go(func() { announced.run(ctx) })
	t.running.Go(func() { t.source.replica.Run(ctx) })
	pace := t.source.pace(t.cfg.PollInterval)
	defer cancel()
	t.forget()
	outage := &retry.Outage{Logger: t.logger, What: "Tail: database"}
	for ctx.Err() == nil && t.wanted() {
		more, err := t.read(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			// This pause ignores t.asked, which would make this a busy loop.
			retry.Pause(ctx, retry.Reconnect.Wait(outage.Failed(ctx, err)))
		default:
			outage.Worked(ctx)
			if !more {
				pace.waited(t.await(ctx, announced.bell, pace.wait))
			}
		}
	}
}

// await waits for an announcement, a caller of now, the next poll, or the end of ctx. It reports whether there was an announcement.
func (t *Tail) await(ctx context.Context, announced listen.Bell, poll time.Duration) bool {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-announced:
		return true
	case <-t.asked:
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// read reads a page, and reports whether there are more events.
func (t *Tail) read(ctx context.Context) (more bool, err error) {
	t.mu.Lock()
	t.reads.begun++
	after, known := t.recent.end, t.recent.known
	t.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	var p page
	if known {
		p, err = t.source.after(ctx, after, Filter{}, tailPage)
		if p.ahead {
			p.end = p.next // the tail has read more than the standby shows
		}
	} else {
		p.end, _, err = t.source.begin(ctx, Now())
		p.next = p.end
	}
	if errors.Is(err, ErrRewound) || errors.Is(err, ErrPruned) {
		t.logger.WarnContext(ctx, "Tail: the history changed; followers look up their positions again",
			slog.String("reason", err.Error()))
		t.forget()
		return true, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take(p, err)
	return p.next.Position < p.end.Position, err
}

// take stores the result of a read and wakes the goroutines that wait for it. The caller holds mu.
func (t *Tail) take(p page, err error) {
	t.reads.ended, t.reads.err = t.reads.begun, err
	if err == nil {
		t.reads.end = p.end
		if t.recent.add(p) {
			close(t.news)
			t.news = make(chan struct{})
		}
	}
	close(t.reads.done)
	t.reads.done = make(chan struct{})
}

// forget drops all events: the tail begins at the end of the history again, and followers read from the database first.
func (t *Tail) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history++
	t.recent.clear()
	close(t.news)
	t.news = make(chan struct{})
}

// now returns the end of the history, from a read that begins after the call. Concurrent callers share a read.
func (t *Tail) now(ctx context.Context) (mark, error) {
	t.mu.Lock()
	wanted := t.reads.begun + 1
	t.mu.Unlock()
	for {
		t.mu.Lock()
		ended, end, err, done := t.reads.ended, t.reads.end, t.reads.err, t.reads.done
		t.mu.Unlock()
		if ended >= wanted {
			return end, err
		}
		t.asked.Ring()
		select {
		case <-done:
		case <-t.life.Done():
			return mark{}, ErrTailStopped
		case <-ctx.Done():
			return mark{}, ctx.Err()
		}
	}
}
