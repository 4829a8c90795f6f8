package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/templates"
)

func (a *app) eventsCommand() *cobra.Command {
	return holds(&cobra.Command{Use: "events", Short: "List events in any state"}, a.eventsListCommand())
}

func (a *app) eventsListCommand() *cobra.Command {
	var (
		filter          operate.EventFilter
		template, place string
	)
	limit := 50
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events, the latest first",
		Long: `Lists events, the latest first: what is in the outbox, jobs that have not ended, dead letters, announced instances as
long as their emissions are kept, and dry runs as long as River keeps their jobs. iuworker trace finds older events, too.
If few events match, the search stops after a bounded number of rows and prints the command that continues it.`,
		Example: `  iuworker events list --since 1h --state dead
  iuworker events list --template welcome-letter --suffix order- --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
				if template != "" {
					found, err := templates.Find(ctx, pool, template)
					if err != nil {
						return err
					}
					filter.Template = found.ID
				}
				page, err := operate.Events(ctx, pool, filter, place, limit)
				if errors.Is(err, operate.ErrEventPlace) {
					return usage(cmd, "--from is %s: %v", quoted(place), operate.ErrEventPlace)
				}
				if err != nil {
					return err
				}
				next := ""
				if page.Older != "" {
					next = continued(cmd, page.Older)
				}
				return a.print(page, func(w io.Writer) { writeEvents(w, page, next) })
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(sinceValue(&filter.Since), "since", "events since this time, or this long ago")
	flags.Var(sinceValue(&filter.Until), "until", "events before this time, or this long ago")
	flags.Var(textValue(&template, 1000), "template", "events of this template: its key or id")
	flags.Var(choiceValue(&filter.State, operate.EventStates...), "state", "events in this state")
	flags.Var(textValue(&filter.Suffix, 1000), "suffix", "events whose suffix begins with this")
	flags.Var(textValue(&filter.Actor, 200), "actor", "events of this actor")
	flags.Var(textValue(&filter.EventType, 200), "type", "events of this event type")
	flags.Var(intValue(&limit, 1, 10_000), "limit", "number of events to list")
	flags.Var(textValue(&place, 200), "from", "continue from here, as an earlier list printed it")
	_ = cmd.RegisterFlagCompletionFunc("template", a.completes(templates.Keys)) // it exists
	return a.withJSON(cmd)
}

// continued returns the command that lists what follows a page.
func continued(cmd *cobra.Command, place string) string {
	words := []string{"iuworker events list"}
	for _, name := range []string{"since", "until", "template", "state", "suffix", "actor", "type", "limit"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed {
			words = append(words, "--"+name, shellWord(flag.Value.String()))
		}
	}
	return strings.Join(append(words, "--from", shellWord(place)), " ")
}

func writeEvents(w io.Writer, page operate.EventPage, next string) {
	if len(page.Events) > 0 || next == "" {
		const none = "no events; to insert one, run: iuworker enqueue; to find an older one, run: iuworker trace"
		const heading = "AT\tSTATE\tTEMPLATE\tSUFFIX\tTYPE\tACTOR\tLATENCY\tEVENT\tREASON"
		table(w, page.Events, none, heading, func(w io.Writer, e operate.EventRow) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", stamp(e.At), state(w, e.State), eventTemplate(e), oneLine(&e.Suffix),
				oneLine(&e.EventType), oneLine(&e.Actor), ifKnown(e.Seconds, latency), orUnknown(e.EventID), oneLine(e.Reason))
		})
	}
	switch {
	case next != "" && page.SearchedTo != nil:
		fmt.Fprintf(w, "searched back to %s; to continue, run: %s\n", stamp(*page.SearchedTo), next)
	case next != "":
		fmt.Fprintf(w, "there are more; to list them, run: %s\n", next)
	}
}

func eventTemplate(e operate.EventRow) string {
	switch {
	case e.TemplateKey != nil:
		return oneLine(e.TemplateKey)
	case e.TemplateID != nil:
		return e.TemplateID.String()
	default:
		return ""
	}
}

func latency(s float64) string { return seconds(s).Round(time.Millisecond).String() }
