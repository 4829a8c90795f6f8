package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/retry"
)

// Run passes events to the handler one at a time, in the order of their positions. The cursor moves after each event that was
// handled. Run returns nil when ctx ends or Limit is reached. Safe for concurrent use.
//
// Run retries while the database is unreachable. It returns an error if it cannot continue: the handler's error (Stop,
// ExhaustedError), a cursor that is not in the history (RewoundError, PrunedError, BeyondEndError), a deleted consumer
// (ErrNoConsumer), an invalid Config, or a query that the database refuses (a missing schema or privilege).
func Run(ctx context.Context, cfg Config, handler Handler) error {
	return run(ctx, cfg, func(s *subscriber) {
		s.single = true
		s.attempt = plainAttempt(func(ctx context.Context, events []Event) error { return handler(ctx, events[0]) })
	})
}

// RunBatch is Run for up to MaxBatch events at a time. It does not wait for a batch to fill.
func RunBatch(ctx context.Context, cfg Config, handler BatchHandler) error {
	return run(ctx, cfg, func(s *subscriber) { s.attempt = plainAttempt(handler) })
}

// RunTx is RunBatch with a transaction that also moves the cursor: effects that the handler writes in it happen exactly once
// per event. It requires Config.Consumer.
func RunTx(ctx context.Context, cfg Config, handler TxHandler) error {
	if cfg.Consumer == "" {
		return errors.New("subscribe: RunTx needs Config.Consumer")
	}
	return run(ctx, cfg, func(s *subscriber) { s.attempt, s.goesBack = txAttempt(handler), true })
}

// subscriber is a call of Run, RunBatch or RunTx.
type subscriber struct {
	cfg      Config
	place    place
	attempt  attempt
	single   bool // whether the handler gets one event at a time
	goesBack bool // whether the handler's effects are set back with the database, because they are in it
	outage   *retry.Outage
	logger   *slog.Logger

	source    *source
	announced *announcements
	pace      *pace
	waits     bool // for a standby to replay the place where the subscriber is

	// Of Config.Resume:
	row     *row
	settled bool        // the consumer is where Resume said
	strays  int         // reads since a page began there
	at      Cursor      // where the next page begins
	cause   ResumeCause // why the subscriber asks

	handled    int
	failures   int   // of the handler, in a row
	suspicious int64 // events up to this position are handled one by one, because a batch of them failed
}

func run(ctx context.Context, cfg Config, prepare func(*subscriber)) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	s := &subscriber{
		cfg: cfg, logger: cfg.Logger,
		outage:    &retry.Outage{Logger: cfg.Logger, What: "Subscriber: database"},
		announced: newAnnouncements(cfg.Pool, cfg.Direct, cfg.PollInterval, "Subscriber", cfg.Logger),
	}
	s.source = newSource(cfg.Pool, cfg.Read, cfg.MaxLag, "Subscriber", cfg.Logger)
	s.pace = s.source.pace(cfg.PollInterval)
	prepare(s)

	listening, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { s.announced.run(listening) })
	wg.Go(func() { s.source.replica.Run(listening) })
	if cfg.Consumer == "" {
		err = s.runAlone(ctx)
	} else {
		err = s.runNamed(ctx)
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// runAlone delivers events without a consumer's name, with the cursor in memory.
func (s *subscriber) runAlone(ctx context.Context) error {
	var from mark
	err := s.try(ctx, func(ctx context.Context) (err error) {
		from, _, err = s.source.begin(ctx, s.cfg.From)
		return err
	})
	if err != nil {
		return err
	}
	s.place = &memory{cfg: s.cfg, source: s.source, at: from}
	return s.deliver(ctx)
}

// runNamed waits for the consumer's lease, delivers events while it has the lease, and waits again if the lease is lost.
func (s *subscriber) runNamed(ctx context.Context) error {
	row := &row{cfg: s.cfg, source: s.source, process: names.Process(), goesBack: s.goesBack, logger: s.logger}
	s.place, s.row = row, row
	err := s.try(ctx, func(ctx context.Context) error {
		created, err := row.open(ctx)
		if created {
			s.logger.InfoContext(ctx, "Subscriber: created a new consumer")
		}
		return err
	})
	if err != nil {
		return err
	}
	lease := newLease(s.cfg, row.process)
	defer lease.release(ctx)
	for {
		until, err := lease.acquire(ctx, row.observe)
		if err != nil {
			return err
		}
		held, stop := lease.keep(ctx, until)
		err = s.deliver(held)
		lost := errors.Is(context.Cause(held), errLeaseLost) && errors.Is(err, context.Canceled)
		stop()
		if !lost || ctx.Err() != nil {
			return named(s.cfg.Consumer, err)
		}
		s.logger.WarnContext(ctx, "Subscriber: lost the consumer's lease; another process may have taken over")
	}
}

func named(consumer string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("consumer %q: %w", consumer, err)
}

func (s *subscriber) done() bool { return s.cfg.Limit > 0 && s.handled >= s.cfg.Limit }

// deliver reads and handles events until ctx ends, Limit is reached, or the subscriber cannot continue.
func (s *subscriber) deliver(ctx context.Context) error {
	s.unsettle(ResumeStart)
	for started := false; !s.done(); {
		if s.settled && s.cfg.Doubt != nil && s.cfg.Doubt() {
			s.unsettle(ResumeDoubt)
		}
		if s.resumes() && !s.settled {
			if err := s.settle(ctx); err != nil {
				return err
			}
		}
		limit := s.cfg.MaxBatch
		if s.cfg.Limit > 0 {
			limit = min(limit, s.cfg.Limit-s.handled)
		}
		var p page
		err := s.try(ctx, func(ctx context.Context) (err error) {
			p, err = s.place.read(ctx, limit)
			return err
		})
		if s.strayed(p, err) {
			s.unsettle(ResumeMoved)
			continue
		}
		if err != nil {
			return err
		}
		s.strays = 0
		s.noteWait(ctx, p)
		if !started {
			started = true
			s.logger.DebugContext(ctx, "Subscriber: reading", slog.String("after", p.after.String()), slog.String("end", p.end.String()))
			s.cfg.OnStart(p.after.Cursor)
		}
		if err := s.work(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// noteWait logs that the subscriber begins to wait for a standby, and that the standby is there.
func (s *subscriber) noteWait(ctx context.Context, p page) {
	switch {
	case p.ahead == s.waits:
		return
	case p.ahead:
		s.logger.InfoContext(ctx, "Subscriber: the standby has not replayed this cursor yet; waiting",
			slog.String("cursor", p.after.String()), slog.String("end", p.end.String()))
	default:
		s.logger.InfoContext(ctx, "Subscriber: the standby has replayed the cursor", slog.String("cursor", p.after.String()))
	}
	s.waits = p.ahead
}

// work handles a page. If the page is empty, it waits for an announcement or the next poll.
func (s *subscriber) work(ctx context.Context, p page) error {
	switch {
	case p.replay:
		return s.replay(ctx)
	case len(p.events) > 0:
		return s.handle(ctx, p)
	case p.next.Cursor != p.after.Cursor:
		return s.move(ctx, p.after.Cursor, p.next)
	default:
		s.pace.waited(s.announced.bell.Wait(ctx, s.pace.wait))
		return ctx.Err()
	}
}

const statementTimeout = 30 * time.Second

// try runs a query, and retries it while the database is unreachable. It runs nothing once ctx has ended.
func (s *subscriber) try(ctx context.Context, query func(context.Context) error) error {
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		bounded, cancel := context.WithTimeout(ctx, statementTimeout)
		err := query(bounded)
		cancel()
		switch {
		case err == nil:
			s.outage.Worked(ctx)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !retry.MayPass(err):
			return err
		}
		if dbsession.ReadOnlyError(err) {
			s.cfg.Pool.Reset() // its connections are to a server that is no longer the primary
		}
		retry.Pause(ctx, retry.Reconnect.Wait(s.outage.Failed(ctx, err)))
	}
}
