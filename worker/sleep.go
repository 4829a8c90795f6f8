package worker

import (
	"context"
	"time"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
)

// found is what a part found in its table and handled, in one transaction.
type found struct {
	rows int
	more bool // there is more: the transaction was full, or another one holds rows
	left bool // rows are left that cannot be handled yet, or the look failed: no doorbell will ring for them
}

const (
	// pace is how long to wait for other rows, for each row found, and longestPace the longest such wait. A transaction for a
	// few rows costs nearly as much as one for many: rows that arrive faster than one per pace are gathered, and rows that
	// arrive more slowly hardly wait.
	pace        = time.Millisecond
	longestPace = 20 * time.Millisecond

	// longestShared is the longest wait for the commit of producers that hold the doorbell's lock shared.
	longestShared = 20 * time.Millisecond

	// strangePoll is the longest sleep while a session that is no worker's holds the doorbell's lock.
	strangePoll = time.Second
)

// sleeper waits for a doorbell that producers ring only while a process sleeps.
//
// The order matters: the sleeper wins the exclusive lock without waiting for it, reads the table once more, and only then
// sleeps. A producer holds the shared lock until its commit. So if the sleeper wins, every producer that tried the lock before
// has committed and is seen by that reading; every later producer fails to get the lock, and rings. That holds for as long as
// the lock is held: the sleeper handles a ring without giving it up, which saves two round trips and two readings per row.
type sleeper struct {
	session *session // nil: polling by choice
	key     int32
	bell    listen.Bell
	poll    poll
}

// work calls handle whenever there may be something to do, until ctx ends, or the session ends whose lock it sleeps with.
func (s sleeper) work(ctx context.Context, handle func(context.Context) found) {
	shared := time.Millisecond
	for ctx.Err() == nil {
		if last := handle(ctx); last.more || last.rows > 0 {
			if !last.more {
				retry.Pause(ctx, min(time.Duration(last.rows)*pace, longestPace))
			}
			shared = time.Millisecond
			continue
		}
		if s.session == nil {
			s.wait(ctx, s.poll.interval, nil)
			continue
		}
		lost := s.session.lost()
		got, err := s.session.try(ctx, s.key)
		switch {
		case err != nil:
			s.wait(ctx, min(s.poll.interval, time.Second), nil)
			return
		case got == triedTaken: // another process sleeps
			s.wait(ctx, s.unlocked(ctx), lost)
		case got == triedShared: // by producers, which are about to commit
			s.wait(ctx, min(s.poll.interval, shared), lost)
			if shared *= 2; shared > longestShared {
				shared = longestShared
				_ = s.unlocked(ctx) // logs a stranger that holds it
			}
		case got == triedWon:
			s.sleep(ctx, handle, lost)
			shared = time.Millisecond
		}
	}
}

// unlocked returns how long to sleep without the lock: the process that has it handles what arrives, unless a stranger has it. It
// is never the idle interval, since no doorbell rings after that process has ended.
func (s sleeper) unlocked(ctx context.Context) time.Duration {
	if strange, err := s.session.strange(ctx, s.key); err == nil && strange {
		return min(s.poll.interval, strangePoll)
	}
	return s.poll.interval
}

// sleep holds the exclusive lock and handles what the bell is rung for, until the bell rings again before that is done.
func (s sleeper) sleep(ctx context.Context, handle func(context.Context) found, lost <-chan struct{}) {
	defer func() { _ = s.session.unlock(ctx, s.key) }() // if this fails, the session has ended, and the lock with it
	select {
	case <-s.bell: // for what handle is about to find
	default:
	}
	for ctx.Err() == nil {
		last := handle(ctx)
		if last.more || len(s.bell) > 0 {
			return
		}
		d := s.poll.interval
		if last == (found{}) {
			d = s.poll.next()
		}
		s.wait(ctx, d, lost)
		select {
		case <-lost:
			return
		default:
		}
	}
}

// wait returns when the time is over, the bell rings, or lost or ctx ends.
func (s sleeper) wait(ctx context.Context, d time.Duration, lost <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.bell:
	case <-lost:
	case <-timer.C:
	}
}
