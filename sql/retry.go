package iusql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 5 * time.Second
)

// retry runs a transaction, and runs it again if it fails because of other sessions' locks. The pauses grow, so
// that sessions which queued behind it get their turn.
func (s *session) retry(ctx context.Context, what string, do func() error) error {
	deadline := time.Now().Add(s.cfg.Wait)
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		watch := s.watchBlockers(ctx)
		err := do()
		blockers := watch.stop()
		if err == nil {
			return nil
		}
		if _, ours := errors.AsType[*failure](err); ours {
			return err
		}
		if !passes(err) {
			return fmt.Errorf("migrate %s: %w", what, err)
		}
		if time.Now().Add(pause).After(deadline) {
			return fail(ErrBusy, "migrate %s: it did not get its locks within %s, held by %s; end that session, or run this again",
				what, s.cfg.Wait, blockers)
		}
		s.cfg.Logger.WarnContext(ctx, "Migration: another session holds a lock, trying again",
			slog.String("migration", what), slog.String("holder", blockers), slog.Any("error", err))
		if !retry.Pause(ctx, pause/2+rand.N(pause)) {
			return fmt.Errorf("migrate %s: %w", what, context.Cause(ctx))
		}
	}
}

// passes reports whether another session's locks caused an error.
func passes(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains([]string{pgerrcode.LockNotAvailable, pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure}, pgErr.Code)
}
