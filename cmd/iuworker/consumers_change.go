package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// startValue is where to begin in the history: beginning, now, a cursor, a time, or how long ago.
func startValue(to *subscribe.Start) *value[subscribe.Start] {
	given := ""
	return &value[subscribe.Start]{to, "cursor|beginning|now", func(text string) (subscribe.Start, error) {
		given = text
		return subscribe.ParseStart(text, time.Now())
	}, func(subscribe.Start) string { return given }}
}

func (a *app) consumersResetCommand() *cobra.Command {
	var agreed confirmation
	var to subscribe.Start
	cmd := &cobra.Command{
		Use:   "reset NAME --to CURSOR|beginning|now",
		Short: "Move a consumer to another position, back or forward",
		Long: `Moves a consumer's cursor. Back, and it receives events again; forward, and it never receives those in between. A running
process continues from there after its current event. The last error is cleared. Moving forward asks first.`,
		Args:              oneConsumer,
		ValidArgsFunction: a.completeConsumers(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "to"); err != nil {
				return err
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				if _, err := findConsumer(ctx, pool, args[0]); err != nil {
					return err
				}
				plan, err := operate.PlanReset(ctx, pool, args[0], to)
				if err != nil {
					return err
				}
				what := fmt.Sprintf("events that consumer %q has not handled", args[0])
				if err := a.confirm(cmd, agreed, stake{count: plan.Skipped, what: what, done: "skipped"}); err != nil {
					return err
				}
				moved, err := operator(pool, "").ResetConsumer(ctx, args[0], subscribe.After(plan.To), plan.Skipped)
				if err != nil {
					return err
				}
				return a.print(moved, func(w io.Writer) {
					fmt.Fprintf(w, "moved consumer %s from %[3]s to %[2]s\n", moved.Consumer, moved.To, moved.From)
				})
			})
		},
	}
	cmd.Flags().Var(startValue(&to), "to", "a cursor or position, the oldest retained event, the next event, "+
		"a time, or how long ago")
	agreed.registerYes(cmd, "events to skip")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) consumersDeleteCommand() *cobra.Command {
	var force bool
	var agreed confirmation
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a consumer: its cursor and its dead letters",
		Args:              oneConsumer,
		ValidArgsFunction: a.completeConsumers(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				consumer, err := findConsumer(ctx, pool, args[0])
				if err != nil {
					return err
				}
				if err := subscribe.Deletable(consumer, force); err != nil {
					return err
				}
				if err := a.confirm(cmd, agreed, consumerStake(consumer)); err != nil {
					return err
				}
				if err := operator(pool, "").DeleteConsumer(ctx, consumer, force); err != nil {
					return err
				}
				return a.print(map[string]string{"deleted": args[0]}, func(w io.Writer) {
					fmt.Fprintf(w, "deleted consumer %s; a subscriber with that name starts from the beginning\n", args[0])
				})
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it even if a process uses it or it has dead letters")
	agreed.registerYes(cmd, "events that it has not handled")
	a.jsonFlag(cmd)
	return cmd
}

// consumerStake returns what is lost if a consumer is deleted: its position among the events.
func consumerStake(c subscribe.Consumer) stake {
	var lag int64
	behind := "its position is already lost"
	if c.LagEvents != nil {
		lag = *c.LagEvents
		behind = fmt.Sprintf("it is %d events behind", lag)
	}
	asks := fmt.Sprintf("Consumer %s will be deleted: %s.", flat(c.Name), behind)
	if c.DeadLetters > 0 {
		asks = fmt.Sprintf("Consumer %s and its %d dead letters will be deleted: %s.", flat(c.Name), c.DeadLetters, behind)
	}
	return stake{count: lag, what: fmt.Sprintf("events that consumer %q has not handled", c.Name), done: "deleted", asks: asks}
}
