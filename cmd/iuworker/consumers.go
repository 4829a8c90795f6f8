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

func (a *app) consumersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "consumers",
		Short: "Show, move or delete durable consumers, and handle their dead letters",
		Long: `Shows all durable consumers: position, lag, process and last error. A consumer exists from its first subscriber until it
is deleted. One without a process expires: after the workers' --emission-retention and --consumer-expiry, counted while
workers run, the events that it has not handled are deleted. This is shown here from a day before.`,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) ([]subscribe.Consumer, error) {
			return subscribe.ListConsumers(ctx, pool)
		}, writeConsumers),
	}
	cmd.AddCommand(a.consumersResetCommand(), a.consumersDeleteCommand(), a.consumersDeadLettersCommand(), a.consumersReplayCommand())
	return a.withJSON(cmd)
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

// oneConsumer is for commands whose argument is a consumer's name.
var oneConsumer = oneArgument("a consumer's name", "consumer", func(cmd *cobra.Command, name string) error {
	if !consumerName.MatchString(name) {
		return usage(cmd, "there is no consumer %s: a name is 1 to 200 printable characters without spaces", quoted(name))
	}
	return nil
})
