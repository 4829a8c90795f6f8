package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// resume returns where to continue: after the last event of the log.
func (p *Publisher) resume(ctx context.Context, r subscribe.Resumption) (subscribe.Start, error) {
	p.cfg.Metrics.Resumed(string(r.Cause))
	end, err := p.last(ctx, p.cfg.Sink.Last)
	if err != nil {
		return subscribe.Stay(), err
	}
	p.cfg.Logger.DebugContext(ctx, "Publisher: the log was asked", slog.String("cause", string(r.Cause)),
		slog.String("row", r.Stored.String()), slog.String("log", end.Cursor.String()), slog.Int("state", int(end.State)))
	return p.continueAt(ctx, end, r)
}

// continueAt returns where to continue if the log ends at end.
func (p *Publisher) continueAt(ctx context.Context, end End, r subscribe.Resumption) (subscribe.Start, error) {
	switch end.State {
	case StateAgedOut:
		return subscribe.Stay(), nil
	case StateNew:
		return p.fromNew(ctx, end, r)
	default:
		return p.after(ctx, end, r)
	}
}

// fromNew is for a log that never held an event. That is right at the beginning. Later it lost its events, with its files, or was
// recreated: in the second case somebody must say what to do, because readers may know of the events.
func (p *Publisher) fromNew(ctx context.Context, end End, r subscribe.Resumption) (subscribe.Start, error) {
	consumer, err := subscribe.FindConsumer(ctx, p.cfg.Pool, p.cfg.Consumer)
	if err != nil {
		return subscribe.Stay(), err
	}
	begun := p.begun(consumer)
	if !r.Handled {
		if consumer.State == "rewound" || consumer.State == "beyond_end" {
			return begun, nil // set by hand to a place that is none
		}
		return subscribe.Stay(), nil
	}
	if end.Created.Before(consumer.CreatedAt) && !end.Created.IsZero() {
		lost, err := p.dueSince(ctx, subscribe.Since(consumer.CreatedAt), r.Stored)
		if err != nil {
			return subscribe.Stay(), err
		}
		if lost {
			p.cfg.Logger.WarnContext(ctx, "Publisher: the log lost all events; publishing them again")
			return begun, nil
		}
	}
	lost, err := p.dueSince(ctx, begun, r.Stored)
	switch {
	case err != nil || !lost:
		return subscribe.Stay(), err
	case p.cfg.Decides:
		p.cfg.Logger.WarnContext(ctx, "Publisher: the log was recreated; beginning where --from or --since says")
		return p.cfg.From, nil
	}
	return subscribe.Stay(), fmt.Errorf("%w: it is empty, and the consumer is at %s; to fill it again, start once with --from beginning; "+
		"to go on without what is missing, with --from now", ErrRecreated, r.Stored)
}

// begun returns where the consumer began, as far as the configuration says.
func (p *Publisher) begun(consumer subscribe.Consumer) subscribe.Start {
	switch p.cfg.From {
	case subscribe.Start{}:
		return subscribe.Beginning()
	case subscribe.Now():
		return subscribe.Since(consumer.CreatedAt)
	}
	return p.cfg.From
}

func (p *Publisher) dueSince(ctx context.Context, start subscribe.Start, until subscribe.Cursor) (bool, error) {
	after, err := subscribe.Resolve(ctx, p.cfg.Pool, start)
	if err != nil {
		return false, err
	}
	return p.due(ctx, after, until)
}

// after continues after the log's last event, if the history holds it.
func (p *Publisher) after(ctx context.Context, end End, r subscribe.Resumption) (subscribe.Start, error) {
	start := subscribe.AfterEvent(end.Cursor, end.ID)
	if end.Cursor.Epoch == r.Stored.Epoch && end.Cursor.Position < r.Stored.Position {
		stay, err := p.nothingBetween(ctx, end.Cursor, r.Stored)
		if err != nil || stay {
			return subscribe.Stay(), err
		}
	}
	_, err := subscribe.Resolve(ctx, p.cfg.Pool, start)
	var rewound *subscribe.RewoundError
	var beyond *subscribe.BeyondEndError
	switch {
	case err == nil:
		return start, nil
	case errors.As(err, &beyond):
		return subscribe.Stay(), fmt.Errorf("%w; if the database was set back to an older state, end its epoch before the first new event: "+
			"SELECT iu_outbox.begin_epoch()", &subscribe.RewoundError{Cursor: end.Cursor, CommonUntil: beyond.End, End: beyond.End})
	case errors.As(err, &rewound) && p.cfg.ContinueRewound && rewound.CommonUntil.Epoch != "":
		p.cfg.Logger.WarnContext(ctx, "Publisher: the history was rewound; continuing after the last common position",
			slog.String("log", end.Cursor.String()), slog.String("common_until", rewound.CommonUntil.String()))
		return subscribe.After(rewound.CommonUntil), nil
	case rewound != nil && rewound.CommonUntil.Epoch == "":
		return start, fmt.Errorf("%w; nothing is known to be in common with the log: publish to a new one", err)
	case rewound != nil && rewound.Found == "":
		return start, fmt.Errorf("%w; to publish what follows the common position, start with --on-rewind continue", err)
	case errors.Is(err, subscribe.ErrPruned) && !p.cfg.Decides:
		return start, fmt.Errorf("%w: start once with --from beginning", err)
	case errors.Is(err, subscribe.ErrPruned):
		p.cfg.Logger.WarnContext(ctx, "Publisher: events that the log lacks were pruned; continuing where --from or --since says",
			slog.String("log", end.Cursor.String()))
		return p.cfg.From, nil
	}
	return start, err
}

// nothingBetween reports whether what the log lacks up to the consumer's row is filtered out or dead letters alone.
func (p *Publisher) nothingBetween(ctx context.Context, log, row subscribe.Cursor) (bool, error) {
	_, err := subscribe.Resolve(ctx, p.cfg.Pool, subscribe.After(row))
	due := false
	if err == nil {
		due, err = p.due(ctx, log, row)
	}
	if errors.Is(err, subscribe.ErrRewound) || errors.Is(err, subscribe.ErrPruned) || errors.Is(err, subscribe.ErrBeyondEnd) {
		return false, nil // the log's end decides
	}
	return err == nil && !due, err
}

// duePage is how many events due reads at once, and the most dead letters that it knows.
const duePage = 1000

// due reports whether the filter selects an event after a cursor, up to another one, that is no dead letter. If the first of them
// were pruned, it begins with those that are kept.
func (p *Publisher) due(ctx context.Context, after, until subscribe.Cursor) (bool, error) {
	letters, err := subscribe.ListDeadLetters(ctx, p.cfg.Pool, p.cfg.Consumer, duePage)
	if err != nil {
		return false, err
	}
	dead := map[subscribe.Cursor]bool{}
	for _, letter := range letters {
		dead[letter.Cursor] = true
	}
	for after.Position < until.Position {
		page, err := subscribe.Read(ctx, p.cfg.Pool, after, p.cfg.Filter, duePage)
		if pruned, ok := errors.AsType[*subscribe.PrunedError](err); ok {
			if p.filters() || after.Position == 0 {
				after = pruned.KeptAfter
				continue
			}
		}
		if err != nil {
			return false, err
		}
		for _, event := range page.Events {
			if event.Cursor.Position <= until.Position && !dead[event.Cursor] {
				return true, nil
			}
		}
		if page.Next == after {
			break
		}
		after = page.Next
	}
	return false, nil
}

func (p *Publisher) filters() bool {
	f := p.cfg.Filter
	return len(f.Templates)+len(f.Actors)+len(f.EventTypes) > 0
}
