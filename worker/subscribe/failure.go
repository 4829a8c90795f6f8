package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// failed waits and returns nil if the events must be read and tried again. It returns an error if Run must end.
func (s *subscriber) failed(ctx context.Context, from Cursor, events []Event, err error) error {
	s.unsettle(ResumeFailed)
	var stop *stopError
	var blamed *handlerError
	switch {
	case errors.As(err, &stop):
		return stop.error
	case errors.Is(err, errMoved):
		return s.moved(ctx, from)
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &blamed) && !retry.MayPass(err):
		return err
	case !errors.As(err, &blamed):
		retry.Pause(ctx, retry.Reconnect.Wait(s.outage.Failed(ctx, err)))
		return nil
	}
	s.failures++
	again := isAgain(err)
	if len(events) > 1 && !again {
		s.suspicious = events[len(events)-1].Cursor.Position
	}
	counts := len(events) == 1 && !again && !retry.MayPass(err)
	tries, noteErr := s.note(ctx, from, err, counts)
	if noteErr != nil {
		return noteErr
	}
	if counts && s.cfg.Retry.MaxTries > 0 && tries >= s.cfg.Retry.MaxTries {
		return s.exhausted(ctx, from, events[0], tries, err)
	}
	wait := s.cfg.Retry.wait(s.failures)
	level := slog.LevelWarn
	if again {
		level = slog.LevelDebug
	}
	s.logger.Log(ctx, level, "Subscriber: the handler failed; trying again", s.about(events, tries, wait, err)...)
	retry.Pause(ctx, wait)
	return nil
}

func (s *subscriber) about(events []Event, tries int, wait time.Duration, err error) []any {
	attrs := []any{
		slog.String("cursor", events[0].Cursor.String()), slog.Int("events", len(events)), slog.Int("tries", tries),
		slog.Duration("wait", wait), slog.String("error", err.Error()),
	}
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		attrs = append(attrs, slog.String("stack", panicked.Stack))
	}
	return attrs
}

// note records a failure in the consumer's row. It ignores an outage of the database: the failure is not recorded.
func (s *subscriber) note(ctx context.Context, from Cursor, cause error, counts bool) (tries int, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	tries, err = s.place.failed(ctx, from, cause, counts)
	if err != nil && (retry.MayPass(err) || ctx.Err() != nil) {
		s.outage.Failed(ctx, err)
		return 0, nil
	}
	return tries, err
}

// moved logs that the cursor was moved. The next read begins at the new place.
func (s *subscriber) moved(ctx context.Context, from Cursor) error {
	s.logger.InfoContext(ctx, "Subscriber: something else moved the cursor; continuing from there", slog.String("from", from.String()))
	return ctx.Err()
}

// exhausted applies Retry.OnExhausted to an event whose tries are exhausted.
func (s *subscriber) exhausted(ctx context.Context, from Cursor, event Event, tries int, cause error) error {
	if s.cfg.Retry.OnExhausted == StopRun {
		return &ExhaustedError{Cursor: event.Cursor, Tries: tries, Err: cause}
	}
	err := s.try(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
			if err := keepDeadLetter(ctx, tx, s.cfg.Consumer, event, tries, cause); err != nil {
				return err
			}
			return s.place.move(ctx, tx, from, markOf(event))
		})
	})
	switch {
	case errors.Is(err, errMoved):
		return s.moved(ctx, from)
	case err != nil:
		return fmt.Errorf("give up event %s: %w", event.Cursor, err)
	}
	s.failures = 0
	s.logger.ErrorContext(ctx, "Subscriber: moved an event to the dead letters", s.about([]Event{event}, tries, 0, cause)...)
	return nil
}
