package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// publishPlan is what --dry-run prints.
type publishPlan struct {
	To       string            `json:"to"`
	End      *subscribe.Cursor `json:"end"`   // of the log; null: it holds no event
	State    string            `json:"state"` // of the log: missing, new, aged_out, holds
	Consumer string            `json:"consumer"`
	Position *subscribe.Cursor `json:"position"` // of the consumer; null: it does not exist yet
	After    subscribe.Cursor  `json:"after"`    // where publishing would continue
	Messages []publish.Preview `json:"messages"`
	lag      *int64            // of the consumer
	create   bool              // the log would be made
}

func (p *publication) describe(plan publish.Plan) publishPlan {
	out := publishPlan{
		To: p.log, State: "missing", Consumer: p.flags.consumerName(), After: plan.After, Messages: plan.Messages, create: p.flags.createStream,
	}
	if plan.Log != nil {
		out.State = map[publish.State]string{publish.StateNew: "new", publish.StateAgedOut: "aged_out", publish.StateHolds: "holds"}[plan.Log.State]
		if plan.Log.State == publish.StateHolds {
			out.End = &plan.Log.Cursor
		}
	}
	if plan.Consumer != nil {
		out.Position, out.lag = &plan.Consumer.Cursor, plan.Consumer.LagEvents
	}
	if out.Messages == nil {
		out.Messages = []publish.Preview{}
	}
	return out
}

func (a *app) printPlan(plan publishPlan) error {
	return a.print(plan, func(w io.Writer) {
		switch {
		case plan.End != nil:
			fmt.Fprintf(w, "%s, ends at %s\n", plan.To, plan.End)
		case plan.State == "missing" && plan.create:
			fmt.Fprintf(w, "%s, does not exist and would be created\n", plan.To)
		case plan.State == "missing":
			fmt.Fprintf(w, "%s, does not exist: create it, or give --create-stream\n", plan.To)
		default:
			fmt.Fprintf(w, "%s, holds no events\n", plan.To)
		}
		switch {
		case plan.Position == nil:
			fmt.Fprintf(w, "consumer %s, does not exist and would begin after %s\n", plan.Consumer, plan.After)
		case plan.lag != nil:
			fmt.Fprintf(w, "consumer %s, at %s, %s behind; would continue after %s\n", plan.Consumer, plan.Position,
				operate.Plural(int(*plan.lag), "event", "events"), plan.After)
		default:
			fmt.Fprintf(w, "consumer %s, at %s; would continue after %s\n", plan.Consumer, plan.Position, plan.After)
		}
		if len(plan.Messages) == 0 {
			fmt.Fprintln(w, "nothing to publish")
		}
		for _, message := range plan.Messages {
			fmt.Fprintf(w, "\n%s\n", message.To)
			for _, header := range message.Headers {
				fmt.Fprintf(w, "%s: %s\n", header.Name, header.Value)
			}
			fmt.Fprintln(w, message.Data)
		}
	})
}

// watchPublishing shows on a terminal how far a publisher is behind, until it has caught up.
func (a *app) watchPublishing(ctx context.Context, pool *pgxpool.Pool, consumer string) {
	var bar *progressbar.ProgressBar
	var total int64
	began := time.Now()
	for retry.Pause(ctx, watchEvery) {
		found, err := subscribe.FindConsumer(ctx, pool, consumer)
		if err != nil || found.LagEvents == nil {
			continue // the log says what is wrong
		}
		left := *found.LagEvents
		if bar == nil {
			if left == 0 {
				break
			}
			total = left
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionShowCount(), progressbar.OptionSetWidth(16),
				progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true))
		}
		text := operate.Thousands(left) + " left"
		if rate := rateOf(total-left, time.Since(began)); rate > 0 {
			text += fmt.Sprintf(", %.0f/s", rate)
		}
		bar.Describe(text)
		_ = bar.Set64(max(min(total-left, total), 0)) // a terminal that cannot be written to shows nothing anyway
		if left == 0 {
			_ = bar.Clear()
			break
		}
	}
	if ctx.Err() == nil {
		fmt.Fprintln(a.stderr, "up to date; publishing new events as they come; Ctrl-C to stop")
	}
}
