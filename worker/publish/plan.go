package publish

import (
	"context"
	"errors"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// Preview is a message as a sink would send it.
type Preview struct {
	To      string      `json:"to"` // a subject, or a topic
	Headers []Attribute `json:"headers"`
	Data    string      `json:"data"`
}

// Plan is what a publisher would do.
type Plan struct {
	Log      *End                // nil: there is none yet
	Consumer *subscribe.Consumer // nil: there is none yet
	After    subscribe.Cursor    // where it would continue
	Messages []Preview           // the first ones
}

// ErrNoLog is wrapped by the error of a sink whose log does not exist.
var ErrNoLog = errors.New("it does not exist")

// Plan returns what Run would do, and the first messages that it would send. It changes nothing, and does not wait for a broker that
// is away.
func (p *Publisher) Plan(ctx context.Context, messages int) (Plan, error) {
	var plan Plan
	end, err := p.cfg.Sink.Peek(ctx)
	switch {
	case err == nil:
		plan.Log, err = &end, p.check(end)
	case errors.Is(err, ErrNoLog):
		err = nil
	}
	if err != nil {
		return plan, err
	}
	found, err := subscribe.FindConsumer(ctx, p.cfg.Pool, p.cfg.Consumer)
	start := p.cfg.From
	switch {
	case err == nil:
		plan.Consumer = &found
		if start, err = p.continueAt(ctx, end, subscribe.Resumption{Stored: found.Cursor, Handled: found.UpdatedAt.After(found.CreatedAt)}); err != nil {
			return plan, err
		}
		if start == subscribe.Stay() {
			start = subscribe.After(found.Cursor)
		}
	case !errors.Is(err, subscribe.ErrNoConsumer):
		return plan, err
	case end.State == StateHolds:
		if start, err = p.after(ctx, end, subscribe.Resumption{}); err != nil {
			return plan, err
		}
	case start == subscribe.Stay():
		start = subscribe.Beginning()
	}
	if plan.After, err = subscribe.Resolve(ctx, p.cfg.Pool, start); err != nil {
		return plan, err
	}
	plan.Messages, err = p.preview(ctx, plan.After, messages)
	return plan, err
}

// preview returns the first messages after a cursor. It reads as far as the filter needs.
func (p *Publisher) preview(ctx context.Context, after subscribe.Cursor, messages int) (previews []Preview, err error) {
	for len(previews) < messages {
		page, err := subscribe.Read(ctx, p.cfg.Pool, after, p.cfg.Filter, messages-len(previews))
		if err != nil {
			return nil, err
		}
		for _, event := range page.Events {
			one, err := p.cfg.Sink.Preview(event)
			if err != nil {
				return nil, err
			}
			previews = append(previews, one)
		}
		if page.Next == after {
			break
		}
		after = page.Next
	}
	return previews, nil
}
