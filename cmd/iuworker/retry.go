package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/operate"
)

const deadLettersShown = 100

// deadLettersCommand is retry, a verb a command.
func (a *app) deadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, retry or drop the events that ended without an instance",
	}
	for _, verb := range []struct{ name, short, flag string }{
		{"list", "List dead letters, the oldest first", "list"},
		{"retry", "Put dead letters back into the outbox", ""},
		{"drop", "Delete dead letters permanently", "drop"},
	} {
		sub := a.retryCommand()
		sub.Use, sub.Short, sub.Long = verb.name+" --status STATUS | --event ID | --all", verb.short, verb.short+"."
		for _, flag := range []string{"list", "drop"} {
			_ = sub.Flags().MarkHidden(flag) // they exist
		}
		if verb.flag != "" {
			_ = sub.Flags().Set(verb.flag, "true")
		}
		cmd.AddCommand(sub)
	}
	needsSubcommand(cmd)
	return cmd
}

func (a *app) retryCommand() *cobra.Command {
	var (
		choice               operate.Selection
		all, list, drop, asJ bool
		agreed               confirmation
	)
	cmd := &cobra.Command{
		Use:   "retry --status STATUS | --event ID | --all",
		Short: "Put dead letters back into the outbox, list them, or drop them",
		Long: `A dead letter is an event that ended without an instance. Repair what was wrong first (its detail says it), then retry
it: it becomes an outbox row again. What fails again becomes a dead letter again.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRetry(cmd); err != nil {
				return err
			}
			if err := agreed.readFor(cmd, "drop", drop); err != nil {
				return err
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				switch {
				case list:
					return a.listDeadLetters(ctx, pool, choice, asJ)
				case drop:
					n, err := operate.CountDeadLetters(ctx, pool, choice)
					if err != nil {
						return err
					}
					if n > 0 || agreed.given {
						if err := a.confirm(cmd, agreed, stake{count: n, what: "dead letters", done: "dropped"}); err != nil {
							return err
						}
					}
					moved, err := operate.DropAs(ctx, pool, systemUser(), choice)
					return a.reportRetry("dropped", choice, moved, err, asJ)
				default:
					moved, err := operate.RetryAs(ctx, pool, systemUser(), choice)
					return a.reportRetry("retried", choice, moved, err, asJ)
				}
			})
		},
	}
	cmd.Flags().Var(&textValue{&choice.Status, 200}, "status", "those of a status, such as template_not_found")
	cmd.Flags().Var(&uuidValue{&choice.EventID}, "event", "those of an event")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&list, "list", false, fmt.Sprintf("show them instead, the oldest %d", deadLettersShown))
	cmd.Flags().BoolVar(&drop, "drop", false, "delete them instead")
	agreed.registerYes(cmd, "dead letters")
	jsonFlag(cmd, &asJ)
	return cmd
}

// checkRetry demands that somebody says which ones, before anything is moved.
func checkRetry(cmd *cobra.Command) error {
	chosen := func(name string) bool {
		yes, err := cmd.Flags().GetBool(name)
		return err == nil && yes
	}
	selected := given(cmd, "status") || given(cmd, "event")
	switch {
	case chosen("list") && chosen("drop"):
		return usage(cmd, "--list and --drop contradict each other: give one of them")
	case chosen("all") && selected:
		return usage(cmd, "--all contradicts --status and --event: give one or the other")
	case !chosen("all") && !selected && !chosen("list"):
		return usage(cmd, "say which dead letters: --status, --event or --all (--list shows them)")
	}
	return nil
}

// reportRetry says how many also where it failed half-way: those are done.
func (a *app) reportRetry(what string, choice operate.Selection, moved operate.Moved, err error, asJSON bool) error {
	if err != nil {
		return fmt.Errorf("%d %s, then: %w", moved.Done, what, err)
	}
	err = a.print(asJSON, map[string]int{what: moved.Done, "left": moved.Left}, func(w io.Writer) {
		if moved == (operate.Moved{}) {
			fmt.Fprintln(w, noDeadLetters(choice))
			return
		}
		fmt.Fprintf(w, "%d %s\n", moved.Done, what)
	})
	if err == nil && moved.Left > 0 {
		return fmt.Errorf("%d dead letters stayed: the outbox refuses their events, or another session has them; "+
			"look at them with iuworker retry --list, and drop what is of no use", moved.Left)
	}
	return err
}

// noDeadLetters says that there are none, and of what.
func noDeadLetters(choice operate.Selection) string {
	text := "no dead letters"
	if choice.Status != "" {
		text += " of the status " + flat(choice.Status)
	}
	if choice.EventID != uuid.Nil {
		text += " of the event " + choice.EventID.String()
	}
	if choice != (operate.Selection{}) {
		text += "; all that there are, shows: iuworker retry --list"
	}
	return text
}

func (a *app) listDeadLetters(ctx context.Context, pool *pgxpool.Pool, choice operate.Selection, asJSON bool) error {
	letters, err := operate.DeadLetters(ctx, pool, choice, 0, deadLettersShown+1)
	if err != nil {
		return err
	}
	more := len(letters) > deadLettersShown
	letters = letters[:min(len(letters), deadLettersShown)]
	lines, err := letterLines(ctx, pool, letters)
	if err != nil {
		return err
	}
	if more && asJSON {
		a.logger.WarnContext(ctx, "Dead letters: there are more than these", slog.Int("shown", len(letters)))
	}
	return a.print(asJSON, letters, func(w io.Writer) {
		if len(letters) == 0 {
			fmt.Fprintln(w, noDeadLetters(choice))
			return
		}
		columns(w, func(w io.Writer) {
			fmt.Fprintln(w, "SINCE\tEVENT\tTEMPLATE\tSUFFIX\tSTATUS\tDETAIL")
			for _, line := range lines {
				fmt.Fprintln(w, line)
			}
		})
		if more {
			fmt.Fprintf(w, "these are the oldest %d, and there are more: --status and --event choose, iuworker status counts\n", len(letters))
		}
	})
}

// letterLines makes the rows of a table. A template that is not there is shown by the id that the event has.
func letterLines(ctx context.Context, pool *pgxpool.Pool, letters []operate.DeadLetter) ([]string, error) {
	events := make([]jobs.AutoInstantiateArgs, len(letters))
	ids := make([]uuid.UUID, len(letters))
	for i, letter := range letters {
		_ = json.Unmarshal(letter.Event, &events[i]) // what does not fit is told by the detail
		ids[i] = events[i].TemplateCollectionID
	}
	keys, err := operate.CollectionKeys(ctx, pool, ids)
	if err != nil {
		return nil, err
	}
	lines := make([]string, len(letters))
	for i, letter := range letters {
		reason := letter.Reason()
		lines[i] = strings.Join([]string{
			stamp(letter.CreatedAt), cmp.Or(letter.EventID, &uuid.Nil).String(), flat(cmp.Or(keys[ids[i]], ids[i].String())),
			flat(events[i].InstanceKeySuffix), letter.Status, oneLine(&reason),
		}, "\t")
	}
	return lines, nil
}
