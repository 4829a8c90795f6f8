package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/replica"
	"github.com/iu-core/iuworker/internal/retry"
)

// knowledge is what a reader may know of the history.
type knowledge int

const (
	// ownHistory: the cursor was read on this server, or on one that it has succeeded. A primary without it was set back.
	ownHistory knowledge = iota
	// sharedHistory: the cursor may have been read on another server, which is ahead of this one.
	sharedHistory
)

// errNotHere means that a server does not have the place of a cursor, and cannot tell whether it will: the history was
// rewound, or the server has yet to replay it.
var errNotHere = errors.New("not replayed yet")

// passed reports whether this history can never contain a cursor that it does not contain now, however it continues:
//
//   - it has a later epoch, which began before the cursor's position: the cursor's epoch has ended there;
//   - it does not have the cursor's epoch, but events after its position: an epoch begins at or before each of its cursors,
//     and no later than any event after them, so that it would be here as well.
//
// If the history is a part of the one in which the cursor was read, neither is possible. If it is not, one of them is true at the latest
// with the first event after the cursor's position, unless both histories are in the same epoch; then ids differ at the cursor.
func (h *history) passed(c Cursor) bool {
	if h.state != "rewound" {
		return false // the cursor's epoch goes on
	}
	return h.knownUntil != nil || h.end.Position > c.Position
}

// source is where a reader reads the history: on a standby, if there is one that can be read, or on the primary. The two are
// asked about one cursor in turn, and so a cursor may be one that the server of the moment has not replayed.
type source struct {
	primary    *pgxpool.Pool
	replica    *replica.Reader
	askTimeout time.Duration
}

func newSource(primary, standby *pgxpool.Pool, maxLag time.Duration, what string, logger *slog.Logger) *source {
	return &source{primary: primary, askTimeout: askTimeout, replica: replica.New(replica.Config{
		Primary: primary, Standby: standby, MaxLag: maxLag, CheckTimeout: checkTimeout, What: what, Logger: logger,
	})}
}

// checkTimeout is how long a check of the standby may take. 0: the default.
var checkTimeout time.Duration

func (s *source) knowledge() knowledge {
	if s.replica.HasStandby() {
		return sharedHistory
	}
	return ownHistory
}

// askTimeout bounds a question to the primary. A reader of a standby goes on without a reply.
const askTimeout = 3 * time.Second

// ask returns what the primary says about a cursor.
func (s *source) ask(ctx context.Context, at mark, known knowledge) (mark, error) {
	ctx, cancel := context.WithTimeout(ctx, s.askTimeout)
	defer cancel()
	return resolve(ctx, s.primary, known, Start{kind: startAfter, after: at})
}

// after reads a page after a place. If the standby does not have the place, the primary may know that the history does not
// contain it any more; else the page is empty.
func (s *source) after(ctx context.Context, at mark, filter Filter, limit int) (page, error) {
	pool := s.replica.Pool()
	p, err := readAfter(ctx, pool, s.knowledge(), at, filter, limit)
	switch {
	case pool == s.primary, err == nil && !p.ahead:
		return p, err
	case err != nil && !lost(err) && retry.MayPass(err):
		s.replica.Failed()
		return p, err
	case err != nil && !lost(err): // such as a wrong password, for the standby alone or for both servers
		p, there := readAfter(ctx, s.primary, s.knowledge(), at, filter, limit)
		if there == nil {
			s.replica.Avoid(ctx, err)
		}
		return p, there
	}
	_, asked := s.ask(ctx, at, sharedHistory)
	switch {
	case errors.Is(asked, ErrRewound), errors.Is(asked, ErrPruned) && err != nil:
		return page{}, asked
	case err == nil: // it comes, or the primary is away
		return p, nil
	case asked == nil || errors.Is(asked, errNotHere):
		s.replica.Avoid(ctx, fmt.Errorf("it shows another history: %w", err))
		return page{after: at, next: at, end: at, ahead: true}, nil
	default:
		return p, err
	}
}

// begin resolves the place where a reader begins. ahead says that the server of the moment has yet to replay it.
func (s *source) begin(ctx context.Context, start Start) (at mark, ahead bool, err error) {
	known := s.knowledge()
	if start.kind == startAfter && start.after.Epoch == "" {
		known = ownHistory // a person typed the position: it is one of the primary's, or none
	}
	pool := s.replica.Pool()
	at, err = resolve(ctx, pool, known, start)
	if pool != s.primary && err != nil && !lost(err) && !errors.Is(err, errNotHere) && !retry.MayPass(err) { // as in after
		refused := err
		if at, err = resolve(ctx, s.primary, known, start); err == nil {
			s.replica.Avoid(ctx, refused)
		}
		pool = s.primary
	}
	if missing := errors.Is(err, errNotHere); pool != s.primary && (missing || lost(err)) {
		there, asked := s.ask(ctx, start.after, known)
		switch {
		case asked == nil:
			return there, true, nil
		case lost(asked) && (!missing || !errors.Is(asked, ErrPruned)):
			return at, false, rewound(asked)
		case errors.Is(asked, errNotHere):
			err = asked
		}
	}
	if errors.Is(err, errNotHere) {
		return at, true, nil
	}
	return at, false, err
}

// lost reports whether an error says that the history does not contain a cursor.
func lost(err error) bool {
	return errors.Is(err, ErrRewound) || errors.Is(err, ErrPruned) || errors.Is(err, ErrBeyondEnd)
}

// firstPace is how soon a reader of a standby reads again after an announcement that it cannot see yet.
const firstPace = 20 * time.Millisecond

// pace is how long to wait for an announcement before polling. A primary announces an event before its standby shows it, so
// a reader of a standby polls often after an announcement, and then less and less.
type pace struct {
	poll    time.Duration
	standby bool
	wait    time.Duration
}

func (s *source) pace(poll time.Duration) *pace {
	return &pace{poll: poll, standby: s.replica.HasStandby(), wait: poll}
}

// waited notes how a wait ended.
func (p *pace) waited(rang bool) {
	switch {
	case rang && p.standby:
		p.wait = min(firstPace, p.poll)
	default:
		p.wait = min(2*p.wait, p.poll)
	}
}

// needsPrimary explains an error of a standby that was asked to store a consumer's cursor.
func needsPrimary(err error) error {
	return fmt.Errorf("%w; a consumer's cursor is stored on the primary: connect to it, and read from the standby by "+
		"Config.Read (--read-database-url)", err)
}
