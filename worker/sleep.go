package worker

import (
	"context"
	"time"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
)

// found is what a look at a table came upon and handled.
type found struct {
	rows int
	more bool // as much as goes into one transaction, or what another one holds now: there is more
}

const (
	// pace is how long is waited for others to come after a look, for each row that it found, and longestPace the most. A
	// transaction for a few rows costs nearly as much as one for many: where they come faster than one in pace they are
	// gathered, and where they come slower nobody waits for long.
	pace        = time.Millisecond
	longestPace = 20 * time.Millisecond

	// longestShared is how long is waited at most for producers to commit who hold the doorbell's lock shared.
	longestShared = 20 * time.Millisecond

	// strangePoll is how long is slept at most while a stranger holds the doorbell's lock.
	strangePoll = time.Second
)

// sleeper waits for a doorbell that producers ring only while somebody sleeps.
//
// The order matters: the exclusive lock is won by a try, the sleeper takes a last look, and only then waits. A
// producer holds the shared lock until its commit, so winning means that every producer whose try came before has
// committed and is seen by that look; every later one fails its try, and rings. That stays true for as long as the lock
// is held: a ring is handled without giving it up, which saves two round trips and two looks a row.
type sleeper struct {
	session *session // nil: polling by choice
	key     int32
	bell    listen.Bell
	poll    time.Duration // how long to sleep at most
}

// work looks whenever there may be something to do, until ctx ends, or the session ends whose lock it sleeps with.
func (s sleeper) work(ctx context.Context, look func(context.Context) found) {
	shared := time.Millisecond
	for ctx.Err() == nil {
		if last := look(ctx); last.more || last.rows > 0 {
			if !last.more {
				retry.Pause(ctx, min(time.Duration(last.rows)*pace, longestPace))
			}
			shared = time.Millisecond
			continue
		}
		if s.session == nil {
			s.wait(ctx, s.poll, nil)
			continue
		}
		lost := s.session.lost()
		got, err := s.session.try(ctx, s.key)
		switch {
		case err != nil:
			s.wait(ctx, min(s.poll, time.Second), nil)
			return
		case got == triedTaken: // another process sleeps
			s.wait(ctx, s.unlocked(ctx), lost)
		case got == triedShared: // by producers, who are about to commit
			s.wait(ctx, min(s.poll, shared), lost)
			if shared *= 2; shared > longestShared {
				shared = longestShared
				_ = s.unlocked(ctx) // logs a stranger that holds it
			}
		case got == triedWon:
			s.sleep(ctx, look, lost)
			shared = time.Millisecond
		}
	}
}

// unlocked returns how long to sleep without the lock: the other process that has it handles what comes, unless it is a
// stranger's.
func (s sleeper) unlocked(ctx context.Context) time.Duration {
	if strange, err := s.session.strange(ctx, s.key); err == nil && strange {
		return min(s.poll, strangePoll)
	}
	return s.poll
}

// sleep holds the exclusive lock, and handles what the bell is rung for, until the bell rings again before that is done.
func (s sleeper) sleep(ctx context.Context, look func(context.Context) found, lost <-chan struct{}) {
	defer func() { _ = s.session.unlock(ctx, s.key) }() // failing, the session ended, and the lock with it
	select {
	case <-s.bell: // for what the look to come will see
	default:
	}
	for ctx.Err() == nil {
		if look(ctx).more || len(s.bell) > 0 {
			return
		}
		s.wait(ctx, s.poll, lost)
		select {
		case <-lost:
			return
		default:
		}
	}
}

// wait ends with the time, the bell, lost or ctx.
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
