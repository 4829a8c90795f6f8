package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/spelling"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func (a *app) consumersCommand() *cobra.Command {
	return holds(a.withJSON(&cobra.Command{
		Use:   "consumers",
		Short: "Show, move or delete durable consumers, and handle their dead letters",
		Long: `Shows all durable consumers: position, lag, process and last error. A consumer exists from its first subscriber until it
is deleted. One without a process expires: after the workers' --emission-retention and --consumer-expiry, counted while
workers run, the events that it has not handled are deleted. This is shown here from a day before.`,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) ([]subscribe.Consumer, error) {
			return subscribe.ListConsumers(ctx, pool)
		}, writeConsumers),
	}), a.consumersResetCommand(), a.consumersDeleteCommand(), a.consumersDeadLettersCommand(), a.consumersReplayCommand())
}

func writeConsumers(w io.Writer, consumers []subscribe.Consumer) {
	now := time.Now()
	const none = "no durable consumers; to create one, run: iuworker subscribe --consumer NAME"
	table(w, consumers, none, "NAME\tAT\tBEHIND\tPROCESS\tDEAD LETTERS\tLAST ERROR", func(w io.Writer, c subscribe.Consumer) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n",
			oneLine(&c.Name), c.Cursor, consumerLag(c), consumerProcess(c, now), c.DeadLetters, consumerError(c, now))
	})
}

func consumerLag(c subscribe.Consumer) string {
	switch {
	case c.LagEvents == nil || c.LagSeconds == nil:
		return c.State + ", needs a reset"
	case *c.LagEvents == 0:
		return "nothing"
	case *c.LagEvents == 1:
		return "1 event, " + short(seconds(*c.LagSeconds))
	default:
		return fmt.Sprintf("%s events, %s", operate.Thousands(*c.LagEvents), short(seconds(*c.LagSeconds)))
	}
}

func consumerProcess(c subscribe.Consumer, now time.Time) string {
	if c.Process == nil {
		text := "none for " + ago(now, c.ActiveAt)
		if c.Expiring && c.ExpiresSeconds != nil {
			text += ", expires in " + short(seconds(*c.ExpiresSeconds))
		}
		return text
	}
	return oneLine(c.Process)
}

func consumerError(c subscribe.Consumer, now time.Time) string {
	if c.LastError == nil {
		return ""
	}
	text := oneLine(c.LastError)
	if c.Tries > 0 {
		text = fmt.Sprintf("%s (try %d)", text, c.Tries)
	}
	if c.LastErrorAt != nil {
		text = fmt.Sprintf("%s ago: %s", ago(now, *c.LastErrorAt), text)
	}
	return text
}

var oneConsumer = oneArgument("a consumer's name", "consumer", func(cmd *cobra.Command, name string) error {
	if !consumerName.MatchString(name) {
		return usage(cmd, "there is no consumer %s: a name is 1 to 200 printable characters without spaces", quoted(name))
	}
	return nil
})

func (a *app) consumersResetCommand() *cobra.Command {
	var agreed confirmation
	var to subscribe.Start
	var plan operate.ConsumerMove
	cmd := &cobra.Command{
		Use:   "reset NAME --to CURSOR|beginning|now",
		Short: "Move a consumer to another position, back or forward",
		Long: `Moves a consumer's cursor. Back, and it receives events again; forward, and it never receives those in between. A running
process continues from there after its current event. The last error is cleared. Moving forward asks first.`,
		Args:              oneConsumer,
		ValidArgsFunction: a.completes(consumerNames),
		RunE: changes(a, &agreed, func(ctx context.Context, pool *pgxpool.Pool, args []string) (stake, error) {
			_, err := findConsumer(ctx, pool, args[0])
			if err == nil {
				plan, err = operate.PlanReset(ctx, pool, args[0], to)
			}
			return stake{count: plan.Skipped, what: fmt.Sprintf("events that consumer %q has not handled", args[0]), done: "skipped"}, err
		}, func(ctx context.Context, by operate.Operator, args []string, most int64) (operate.ConsumerMove, error) {
			return by.ResetConsumer(ctx, args[0], subscribe.After(plan.To), most)
		}, func(w io.Writer, moved operate.ConsumerMove) {
			fmt.Fprintf(w, "moved consumer %s from %s to %s\n", moved.Consumer, moved.From, moved.To)
		}),
	}
	start := func(text string) (subscribe.Start, error) { return subscribe.ParseStart(text, time.Now()) }
	cmd.Flags().Var(startValue(&to, "cursor|beginning|now", start), "to", "a cursor or position, the oldest retained event, the next event, "+
		"a time, or how long ago")
	requireFlags(cmd, "to")
	agreed.registerYes(cmd, "events to skip")
	return a.withJSON(cmd)
}

func (a *app) consumersDeleteCommand() *cobra.Command {
	var force bool
	var agreed confirmation
	var consumer subscribe.Consumer
	cmd := &cobra.Command{
		Use:               "delete NAME",
		Short:             "Delete a consumer: its cursor and its dead letters",
		Args:              oneConsumer,
		ValidArgsFunction: a.completes(consumerNames),
		RunE: changes(a, &agreed, func(ctx context.Context, pool *pgxpool.Pool, args []string) (lost stake, err error) {
			if consumer, err = findConsumer(ctx, pool, args[0]); err == nil {
				err = subscribe.Deletable(consumer, force)
			}
			return consumerStake(consumer), err
		}, func(ctx context.Context, by operate.Operator, args []string, _ int64) (map[string]string, error) {
			return map[string]string{"deleted": args[0]}, by.DeleteConsumer(ctx, consumer, force)
		}, func(w io.Writer, done map[string]string) {
			fmt.Fprintf(w, "deleted consumer %s; a subscriber with that name starts from the beginning\n", done["deleted"])
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it even if a process uses it or it has dead letters")
	agreed.registerYes(cmd, "events that it has not handled")
	return a.withJSON(cmd)
}

// consumerStake returns what the deletion of a consumer loses: the events that it has not handled.
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
	return stake{count: lag, free: -1, what: fmt.Sprintf("events that consumer %q has not handled", c.Name), done: "deleted", asks: asks}
}

// consumerLetter is a dead letter with its event.
type consumerLetter struct {
	subscribe.ConsumerDeadLetter

	Event json.RawMessage `json:"event"`
}

type consumerLetters struct {
	Consumer string           `json:"consumer"`
	Letters  []consumerLetter `json:"dead_letters"` // the oldest ones
	Total    int64            `json:"total"`
}

func (a *app) consumersDeadLettersCommand() *cobra.Command {
	var drop bool
	var agreed confirmation
	list := query(a, readConsumerLetters, writeConsumerLetters)
	dropAll := changes(a, &agreed, func(ctx context.Context, pool *pgxpool.Pool, args []string) (stake, error) {
		consumer, err := findConsumer(ctx, pool, args[0])
		return stake{count: consumer.DeadLetters, what: fmt.Sprintf("dead letters of consumer %q", args[0]), done: "dropped"}, err
	}, func(ctx context.Context, by operate.Operator, args []string, most int64) (map[string]any, error) {
		n, err := by.DropConsumerLetters(ctx, args[0], most)
		return map[string]any{"consumer": args[0], "dropped": n}, err
	}, func(w io.Writer, done map[string]any) { fmt.Fprintf(w, "%d dropped\n", done["dropped"]) })
	cmd := &cobra.Command{
		Use:               "dead-letters NAME",
		Short:             "List the events that a consumer failed to handle, or drop them",
		Args:              oneConsumer,
		ValidArgsFunction: a.completes(consumerNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := agreed.needs(cmd, "drop", drop); err != nil {
				return err
			}
			if drop {
				return dropAll(cmd, args)
			}
			return list(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&drop, "drop", false, "drop all of them instead")
	agreed.registerYes(cmd, "dead letters")
	return a.withJSON(cmd)
}

func (a *app) consumersReplayCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "replay NAME",
		Short: "Make a consumer handle its dead letters again",
		Long: `Makes the consumer's process handle all of its dead letters once more: a running process does so at once, a new one when
it starts. What it handles is deleted; what fails again stays, with its new error.`,
		Args:              oneConsumer,
		ValidArgsFunction: a.completes(consumerNames),
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) (map[string]any, error) {
			if _, err := findConsumer(ctx, pool, args[0]); err != nil {
				return nil, err
			}
			n, err := operator(pool, "").ReplayConsumerLetters(ctx, args[0])
			return map[string]any{"consumer": args[0], "replayed": n}, err
		}, func(w io.Writer, done map[string]any) { fmt.Fprintf(w, "%d will be replayed\n", done["replayed"]) }),
	})
}

// findConsumer returns the consumer of that name, or subscribe.ErrNoConsumer and the most similar name.
func findConsumer(ctx context.Context, db subscribe.DB, name string) (subscribe.Consumer, error) {
	consumers, err := subscribe.ListConsumers(ctx, db)
	if err != nil {
		return subscribe.Consumer{}, err
	}
	var names []string
	for _, consumer := range consumers {
		if consumer.Name == name {
			return consumer, nil
		}
		names = append(names, consumer.Name)
	}
	return subscribe.Consumer{}, fmt.Errorf("%w %q%s; to list the consumers, run: iuworker consumers",
		subscribe.ErrNoConsumer, name, didYouMean("", spelling.Nearest(name, names)))
}

func readConsumerLetters(ctx context.Context, pool *pgxpool.Pool, args []string) (consumerLetters, error) {
	name := args[0]
	read := consumerLetters{Consumer: name, Letters: []consumerLetter{}}
	consumer, err := findConsumer(ctx, pool, name)
	if err != nil {
		return read, err
	}
	letters, err := subscribe.ListDeadLetters(ctx, pool, name, deadLettersShown)
	for _, letter := range letters {
		read.Letters = append(read.Letters, consumerLetter{letter, letter.Event.JSON})
	}
	read.Total = max(consumer.DeadLetters, int64(len(letters)))
	return read, err
}

func writeConsumerLetters(w io.Writer, l consumerLetters) {
	table(w, l.Letters, "no dead letters", "SINCE\tCURSOR\tINSTANCE\tTRIES\tERROR", func(w io.Writer, letter consumerLetter) {
		asked := ""
		if letter.ReplayRequestedAt != nil {
			asked = "(to be replayed) "
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s%s\n", stamp(letter.CreatedAt), letter.Cursor,
			flat(letter.ConsumerDeadLetter.Event.Subject), letter.Tries, asked, oneLine(&letter.Error))
	})
	if l.Total > int64(len(l.Letters)) {
		fmt.Fprintf(w, "the oldest %d of %d\n", len(l.Letters), l.Total)
	}
}
