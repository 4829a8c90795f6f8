package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// Resumption is what Config.Resume gets.
type Resumption struct {
	Stored  Cursor      // the consumer's row
	Handled bool        // a subscriber moved the row there; false if it is new, or was set by hand
	Cause   ResumeCause // why the subscriber asks
}

// ResumeCause says why Config.Resume is called.
type ResumeCause string

// The causes.
const (
	ResumeStart  ResumeCause = "start"  // this process became the active one
	ResumeFailed ResumeCause = "failed" // the handler returned an error
	ResumeMoved  ResumeCause = "moved"  // something else moved the consumer's row
	ResumeDoubt  ResumeCause = "doubt"  // Config.Doubt said so
)

// Stay is where Config.Resume lets the consumer continue after its own row.
func Stay() Start { return Start{} }

// resumes reports whether the handler's own store says where to continue.
func (s *subscriber) resumes() bool { return s.cfg.Resume != nil }

// unsettle makes the subscriber ask again where to continue before it reads on.
func (s *subscriber) unsettle(cause ResumeCause) {
	s.settled = false
	s.cause = cause
}

// settle asks Config.Resume where to continue, and moves the consumer there. Resume may wait as long as ctx goes on.
func (s *subscriber) settle(ctx context.Context) error {
	for !s.settled {
		var stored mark
		err := s.try(ctx, func(ctx context.Context) (err error) {
			stored, err = s.row.stored(ctx)
			return err
		})
		if err != nil {
			return err
		}
		start, err := s.cfg.Resume(ctx, Resumption{Stored: stored.Cursor, Handled: stored.id != "", Cause: s.cause})
		if err == nil {
			err = s.settleAt(ctx, stored, start)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errMoved):
			s.cause = ResumeMoved
			retry.Pause(ctx, retry.Reconnect.First)
		case retry.MayPass(err):
			retry.Pause(ctx, retry.Reconnect.Wait(s.outage.Failed(ctx, err)))
		default:
			return err
		}
	}
	return nil
}

func (s *subscriber) settleAt(ctx context.Context, stored mark, start Start) error {
	to := stored
	if start.kind != startDefault {
		err := s.try(ctx, func(ctx context.Context) (err error) {
			to, err = resolve(ctx, s.cfg.Pool, ownHistory, start)
			return rewound(err)
		})
		if err != nil {
			return err
		}
	}
	if to.Cursor != stored.Cursor || differ(to.id, stored.id) {
		err := s.try(ctx, func(ctx context.Context) error { return s.row.move(ctx, s.cfg.Pool, stored.Cursor, to) })
		if err != nil {
			return err
		}
		s.logger.InfoContext(ctx, "Subscriber: moved the consumer to where its effects end",
			slog.String("from", stored.String()), slog.String("to", to.String()))
	}
	s.settled, s.at, s.row.known = true, to.Cursor, true
	return nil
}

// straysMost is how often in a row something else may move the row to a place that is lost, before the subscriber takes that for the
// state of the history.
const straysMost = 5

// strayed reports whether a page does not begin where the last one ended, or its place is lost: something else moved the row.
func (s *subscriber) strayed(p page, err error) bool {
	if !s.resumes() {
		return false
	}
	if err != nil {
		s.strays++
		return s.strays <= straysMost && (errors.Is(err, ErrRewound) || errors.Is(err, ErrPruned) || errors.Is(err, ErrBeyondEnd))
	}
	return p.after.Cursor != s.at
}

// stored reads the row, whatever its place is worth.
func (r *row) stored(ctx context.Context) (at mark, err error) {
	err = r.cfg.Pool.QueryRow(ctx, `
		SELECT c.epoch, c.position, COALESCE(c.last_event_id::text, '') FROM iu_outbox.consumer AS c WHERE c.name = $1`, r.cfg.Consumer).
		Scan(&at.Epoch, &at.Position, &at.id)
	if errors.Is(err, pgx.ErrNoRows) {
		return at, absent(ctx, r.cfg.Pool, fmt.Errorf("%w %q: it was deleted while it ran", ErrNoConsumer, r.cfg.Consumer))
	}
	if err != nil {
		return at, fmt.Errorf("read the consumer: %w", err)
	}
	return at, nil
}

// Again marks a handler's error that Config.Resume waits out, such as a broker that is away: it does not count as a try, and is noted
// at the consumer, not logged. It returns nil for a nil err.
func Again(err error) error {
	if err == nil {
		return nil
	}
	return &againError{err}
}

type againError struct{ err error }

func (e *againError) Error() string { return e.err.Error() }
func (e *againError) Unwrap() error { return e.err }

func isAgain(err error) bool {
	_, again := errors.AsType[*againError](err)
	return again
}
