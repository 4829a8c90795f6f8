package main

import (
	"context"
	"errors"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/subscribe"
)

func (a *app) subscribeCommand() *cobra.Command {
	var after, consumer string
	var limit int
	cmd := &cobra.Command{
		Use:   "subscribe",
		Short: "Print events as JSON lines, until Ctrl-C",
		Long: `Prints each event as one line of CloudEvents JSON, in the order of positions. Without --after and --consumer it begins
now. A consumer begins at the oldest event that is kept, and goes on where it stopped: its cursor is stored after a
line was written, so a line may come twice after a crash, and none is left out.`,
		Example: `  iuworker subscribe
  iuworker subscribe --after 0 --limit 10
  iuworker subscribe --consumer invoices | while read -r event; do …; done`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := notTogether(cmd, "after", "consumer"); err != nil {
				return err
			}
			cfg := subscribe.Config{Consumer: consumer, Limit: limit}
			if after != "" {
				cursor, err := subscribe.ParseCursor(after)
				if err != nil {
					return usage(cmd, "--after is %s: it must be a cursor as events carry it, or a position", quoted(after))
				}
				cfg.From = subscribe.After(cursor)
			}
			return a.subscribe(cmd, cfg)
		},
	}
	flags := cmd.Flags()
	flags.Var(&textValue{&after, 100}, "after", "begin after this cursor, or after this position; 0 is the beginning")
	flags.Var(&consumerValue{textValue{&consumer, 200}}, "consumer", "go on where this durable consumer stopped")
	flags.Var(&intValue{&limit, 1, 1 << 30}, "limit", "end after so many events (default no end)")
	return cmd
}

func (a *app) subscribe(cmd *cobra.Command, cfg subscribe.Config) error {
	at, err := a.addresses(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	at.size(commandPool, false)
	pool, err := connect(ctx, at.pool)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := a.checkSchema(ctx, pool); err != nil {
		return err
	}
	cfg.Pool, cfg.Direct, cfg.Logger = pool, at.direct, a.logger
	reading, stop := a.stdout.whileRead(ctx)
	defer stop()
	return subscribe.Run(reading, cfg, func(_ context.Context, event subscribe.Event) error {
		_, err := a.stdout.Write(append([]byte(event.JSON), '\n'))
		return subscribe.Stop(err) // what cannot be written now will not be written by another try
	})
}

// consumerValue is a consumer's name.
type consumerValue struct{ textValue }

var consumerName = regexp.MustCompile(`^[[:graph:]]{1,200}$`)

// Set implements pflag.Value.
func (v *consumerValue) Set(text string) error {
	if !consumerName.MatchString(text) {
		return errors.New("it must be 1 to 200 printable characters without spaces")
	}
	return v.textValue.Set(text)
}
