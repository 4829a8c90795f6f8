package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/spelling"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

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
		ValidArgsFunction: a.completeConsumers(),
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
		ValidArgsFunction: a.completeConsumers(),
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) (map[string]any, error) {
			if _, err := findConsumer(ctx, pool, args[0]); err != nil {
				return nil, err
			}
			n, err := operator(pool, "").ReplayConsumerLetters(ctx, args[0])
			return map[string]any{"consumer": args[0], "replayed": n}, err
		}, func(w io.Writer, done map[string]any) { fmt.Fprintf(w, "%d will be replayed\n", done["replayed"]) }),
	})
}

// findConsumer returns subscribe.ErrNoConsumer, with the nearest name, if there is no consumer of that name.
func findConsumer(ctx context.Context, db subscribe.DB, name string) (subscribe.Consumer, error) {
	consumers, err := subscribe.ListConsumers(ctx, db)
	if err != nil {
		return subscribe.Consumer{}, err
	}
	i := slices.IndexFunc(consumers, func(c subscribe.Consumer) bool { return c.Name == name })
	if i < 0 {
		var names []string
		for _, consumer := range consumers {
			names = append(names, consumer.Name)
		}
		return subscribe.Consumer{}, fmt.Errorf("%w %q%s; to list the consumers, run: iuworker consumers",
			subscribe.ErrNoConsumer, name, didYouMean("", spelling.Nearest(name, names)))
	}
	return consumers[i], nil
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
