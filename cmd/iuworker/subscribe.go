package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func (a *app) subscribeCommand() *cobra.Command {
	var cfg subscribe.Config
	var from string
	cmd := &cobra.Command{
		Use:   "subscribe",
		Short: "Print events as JSON lines, until Ctrl-C",
		Long: `Prints each event as one line of CloudEvents JSON, in the order of positions. Without --after, --since, --from or
--consumer it starts with the next event. A new consumer starts at the oldest retained event, unless --from or --since is
given; an existing one continues where it stopped. Its cursor is stored after the lines of a batch are written, so that
lines may repeat after a crash and none is missing. An event must match all filters; a filter given several times matches
any of its values. A consumer counts filtered events as handled.

With --read-database-url, events are read from a hot standby, and cursors are stored at --database-url. A standby that is
behind shows events later, and never less. Without a consumer, --database-url may itself lead to a standby, which is
polled.`,
		Example: `  iuworker subscribe --template welcome-letter
  iuworker subscribe --after 0 --limit 10
  iuworker subscribe --since 2h --event-type order.placed --event-type order.paid
  iuworker subscribe --consumer invoices | while read -r event; do …; done`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch from {
			case "beginning":
				cfg.From = subscribe.Beginning()
			case "now":
				cfg.From = subscribe.Now()
			}
			return a.onServer(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool, at addresses) error {
				return untilSignal(ctx, a.subscribe(ctx, pool, at, cfg))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(startValue(&cfg.From, "text", afterCursor), "after", "start after this cursor or position; 0 is the beginning")
	flags.Var(startValue(&cfg.From, sinceKind, since), "since",
		"start at the first event announced since a time or a duration ago: 2026-12-31T18:00:00Z, 2h")
	flags.Var(choiceValue(&from, "beginning", "now"), "from", "start at the oldest retained event, or at the next one")
	flags.Var(consumerValue(&cfg.Consumer), "consumer", "continue where this durable consumer stopped")
	flags.Var(intValue(&cfg.Limit, 1, 1<<30), "limit", "end after this many events (default no end)")
	flags.Var(textsValue(&cfg.Filter.Templates, 1000), "template", "only events of this template (collection key or id); repeatable")
	flags.Var(textsValue(&cfg.Filter.Actors, actorMax), "actor", "only events of this actor; repeatable")
	flags.Var(textsValue(&cfg.Filter.EventTypes, 200), "event-type", "only events of this type, such as order.placed; repeatable")
	excludeFlags(cmd, "after", "consumer", "since", "from")
	excludeFlags(cmd, "since", "from")
	return cmd
}

// startValue is where a subscriber begins in the history.
func startValue(to *subscribe.Start, kind string, parse func(text string) (subscribe.Start, error)) *value[subscribe.Start] {
	given := ""
	return &value[subscribe.Start]{to, kind, func(text string) (subscribe.Start, error) {
		given = text
		return parse(text)
	}, func(subscribe.Start) string { return given }}
}

var afterCursor = worded(func(text string) (subscribe.Start, error) {
	cursor, err := subscribe.ParseCursor(text)
	return subscribe.After(cursor), err
}, "a cursor as events carry it, or a position")

func since(text string) (subscribe.Start, error) {
	at, err := parseSince(text)
	return subscribe.Since(at), err
}

// subscribe prints events until ctx ends. The caller has reached the server. If the server is lost later, subscribe waits for it.
func (a *app) subscribe(ctx context.Context, pool *pgxpool.Pool, at addresses, cfg subscribe.Config) error {
	reading, stop := a.stdout.whileRead(ctx)
	defer stop()
	waiting := &waiting{what: "Subscriber", logger: a.logger}
	err := waiting.until(reading, func(ctx context.Context) error {
		asking, cancel := context.WithTimeout(ctx, readyWithin)
		defer cancel()
		if err := a.checkSchema(asking, pool); err != nil {
			return err
		}
		return a.warnOfTemplates(asking, pool, cfg.Filter.Templates)
	})
	switch {
	case err != nil && ctx.Err() == nil && reading.Err() != nil:
		return errResultsClosed
	case err != nil:
		return err
	}
	cfg.Pool, cfg.Direct, cfg.Logger = pool, at.direct, a.logger
	standby, err := openStandby(ctx, at)
	if err != nil {
		return err
	}
	if standby != nil {
		defer closePool(standby)
		cfg.Read = standby
	}
	if isTerminal(a.stderr) {
		cfg.OnStart = func(from subscribe.Cursor) {
			fmt.Fprintf(a.stderr, "waiting for events after %s; Ctrl-C to stop\n", from)
		}
	}
	return subscribe.RunBatch(reading, cfg, func(_ context.Context, events []subscribe.Event) error {
		var lines []byte
		for _, event := range events {
			lines = append(append(lines, event.JSON...), '\n')
		}
		_, err := a.stdout.Write(lines)
		return subscribe.Stop(err) // another try could not write either
	})
}

// warnOfTemplates warns of templates that do not exist. They may be created later, but a mistyped one would wait forever.
// A subscriber may be unable to read templates.
func (a *app) warnOfTemplates(ctx context.Context, pool *pgxpool.Pool, references []string) error {
	for _, reference := range references {
		_, err := templates.Find(ctx, pool, reference)
		switch {
		case isNoTemplate(err):
			a.logger.WarnContext(ctx, "Subscriber: no such template yet", slog.String("template", reference))
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			a.logger.DebugContext(ctx, "Subscriber: the template was not checked", slog.String("reason", err.Error()))
		}
	}
	return nil
}

var consumerName = regexp.MustCompile(`^[[:graph:]]{1,200}$`)

// consumerValue is the name of a consumer.
func consumerValue(to *string) *value[string] {
	return stringValue(to, "text", func(text string) error {
		if !consumerName.MatchString(text) || !validText(text) {
			return errors.New("it must be 1 to 200 printable characters without spaces")
		}
		return nil
	})
}
