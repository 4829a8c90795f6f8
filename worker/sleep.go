package worker

import (
	"context"
	"time"

	"github.com/iu-core/iuworker/worker/listen"
)

// sleeper waits for a doorbell that producers ring only while somebody sleeps.
//
// The order matters: the exclusive lock is won by a try, the caller takes a last look, and only then waits. A
// producer holds the shared lock until its commit, so winning means that every producer whose try came before has
// committed and is seen by that look; every later one fails its try, and rings.
type sleeper struct {
	session *session // nil: polling by choice
	key     int32
	bell    listen.Bell
	poll    time.Duration // how long to sleep at most
}

// sleep waits until there may be something to do. look does the work that it finds and reports whether there was
// any; sleep returns once it did, or the bell rang, or ctx ended.
//
// Where the lock is not to be had it waits and returns, so that the caller looks again: a moment where producers
// hold it, who are about to commit; the poll interval where another process sleeps, or where there is no session by
// choice; a second at most where the session is lost, and will be back.
func (s sleeper) sleep(ctx context.Context, look func(context.Context) bool) {
	if s.session == nil {
		s.wait(ctx, s.poll, nil)
		return
	}
	lost := s.session.lost()
	got, err := s.session.try(ctx, s.key)
	switch {
	case err != nil:
		s.wait(ctx, min(s.poll, time.Second), nil)
		return
	case got == triedTaken:
		s.wait(ctx, s.poll, nil)
		return
	case got == triedShared:
		s.wait(ctx, min(s.poll, 20*time.Millisecond), nil)
		return
	}
	defer func() { _ = s.session.unlock(ctx, s.key) }() // failing, the session ended, and the lock with it
	for ctx.Err() == nil {
		if look(ctx) || s.wait(ctx, s.poll, lost) {
			return
		}
	}
}

// wait reports whether something other than the time ended it.
func (s sleeper) wait(ctx context.Context, d time.Duration, lost <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-s.bell:
		return true
	case <-lost:
		return true
	case <-timer.C:
		return false
	}
}
