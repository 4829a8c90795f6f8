package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/spelling"
	"github.com/iu-core/iuworker/internal/operate"
)

const deadLettersShown = 100

const retryHelp = `A dead letter is an event that ended without an instance. First fix the cause, which its detail names. Then retry it: it
becomes an outbox row again. An event that fails again becomes a dead letter again.`

// deadLetters says which dead letters a command acts on. It retries them unless it lists or drops them.
type deadLetters struct {
	choice          operate.Selection
	all, list, drop bool
	agreed          confirmation
}

func (a *app) deadLettersCommand() *cobra.Command {
	const chosen = " --status STATUS | --event ID | --all"
	return holds(
		&cobra.Command{Use: "dead-letters", Short: "List, retry or drop events that ended without an instance"},
		a.changeDeadLetters(&deadLetters{list: true}, &cobra.Command{
			Use: "list [--status STATUS | --event ID]", Short: "List dead letters, the oldest first",
			Long: fmt.Sprintf("Lists the oldest %d dead letters, with their template and why no instance was composed.", deadLettersShown),
		}),
		a.changeDeadLetters(&deadLetters{}, &cobra.Command{
			Use: "retry" + chosen, Short: "Put dead letters back into the outbox", Long: retryHelp,
		}),
		a.changeDeadLetters(&deadLetters{drop: true}, &cobra.Command{
			Use: "drop" + chosen, Short: "Delete dead letters permanently",
			Long: "Deletes dead letters permanently. To process their events, the application must send them again.",
		}),
	)
}

// retryCommand is the old name of the commands below dead-letters.
func (a *app) retryCommand() *cobra.Command {
	letters := &deadLetters{}
	cmd := a.changeDeadLetters(letters, &cobra.Command{
		Use: "retry --status STATUS | --event ID | --all", Short: "Same as dead-letters retry",
		Long: retryHelp + "\nThis is the old name of: iuworker dead-letters list, retry and drop.",
	})
	cmd.Flags().BoolVar(&letters.list, "list", false, fmt.Sprintf("list the oldest %d instead", deadLettersShown))
	cmd.Flags().BoolVar(&letters.drop, "drop", false, "drop them instead")
	excludeFlags(cmd, "list", "drop")
	letters.agreed.registerYes(cmd, "dead letters")
	return cmd
}

// changeDeadLetters completes a command that lists, retries or drops dead letters.
func (a *app) changeDeadLetters(l *deadLetters, cmd *cobra.Command) *cobra.Command {
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := cmp.Or(l.check(cmd), l.agreed.needs(cmd, "drop", l.drop)); err != nil {
			return err
		}
		return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
			by, which := operator(pool, ""), operate.Letters{Filter: l.choice}
			switch {
			case l.list:
				return a.listDeadLetters(ctx, pool, l.choice)
			case !l.drop:
				moved, err := by.RetryDeadLetters(ctx, which, math.MaxInt64)
				return a.reportMoved(ctx, pool, "retried", l.choice, moved, err)
			}
			n, err := operate.CountDeadLetters(ctx, pool, l.choice)
			if err == nil {
				err = a.confirm(cmd, l.agreed, stake{count: n, what: "dead letters", done: "dropped"})
			}
			if err != nil {
				return err
			}
			moved, err := by.DropDeadLetters(ctx, which, l.agreed.most(n))
			return a.reportMoved(ctx, pool, "dropped", l.choice, moved, err)
		})
	}
	cmd.Flags().Var(textValue(&l.choice.Status, 200), "status", "dead letters with this status, such as template_not_found")
	cmd.Flags().Var(uuidValue(&l.choice.EventID), "event", "dead letters of this event")
	cmd.Flags().BoolVar(&l.all, "all", false, "all dead letters")
	if l.list {
		_ = cmd.Flags().MarkHidden("all") // it exists
	}
	if l.drop {
		l.agreed.registerYes(cmd, "dead letters")
	}
	return a.withJSON(cmd)
}

// check fails unless the flags say which dead letters.
func (l *deadLetters) check(cmd *cobra.Command) error {
	selected := given(cmd, "status") || given(cmd, "event")
	switch {
	case l.all && selected:
		return usage(cmd, "--all contradicts --status and --event: give one or the other")
	case !l.all && !selected && !l.list:
		return usage(cmd, "say which dead letters: --status, --event or --all; to see them, run: iuworker dead-letters list")
	}
	return nil
}

// reportMoved prints how many dead letters were retried or dropped. It fails if some remain.
func (a *app) reportMoved(ctx context.Context, pool *pgxpool.Pool, what string, choice operate.Selection, moved operate.Moved, err error) error {
	if err != nil {
		return err
	}
	none, err := noDeadLetters(ctx, pool, choice)
	if err != nil {
		return err
	}
	err = a.print(map[string]int{what: moved.Done, "left": moved.Left}, func(w io.Writer) {
		if moved == (operate.Moved{}) {
			fmt.Fprintln(w, none)
			return
		}
		fmt.Fprintf(w, "%d %s\n", moved.Done, what)
	})
	if err == nil && moved.Left > 0 {
		return fmt.Errorf("%d dead letters remain: the outbox refuses their events, or another session has locked them; "+
			"run iuworker dead-letters list to see them, and drop what you do not need", moved.Left)
	}
	return err
}

// noDeadLetters returns the message that there is no such dead letter, with the status that may have been meant.
func noDeadLetters(ctx context.Context, pool *pgxpool.Pool, choice operate.Selection) (string, error) {
	text := "no dead letters"
	if choice.Status != "" {
		text += " with status " + flat(choice.Status)
	}
	if choice.EventID != uuid.Nil {
		text += " of event " + choice.EventID.String()
	}
	if choice != (operate.Selection{}) {
		statuses, err := operate.DeadLetterStatuses(ctx, pool)
		if err != nil {
			return "", err
		}
		if meant := spelling.Nearest(choice.Status, statuses); meant != "" && meant != choice.Status {
			text += didYouMean("", meant)
		}
		text += "; to see all, run: iuworker dead-letters list"
	}
	return text, nil
}

func (a *app) listDeadLetters(ctx context.Context, pool *pgxpool.Pool, choice operate.Selection) error {
	letters, err := operate.DeadLetters(ctx, pool, choice, 0, deadLettersShown+1)
	if err != nil {
		return err
	}
	letters, more := firstOf(letters, deadLettersShown)
	none, err := noDeadLetters(ctx, pool, choice)
	if err != nil {
		return err
	}
	if more && a.json {
		a.logger.WarnContext(ctx, "Dead letters: there are more", slog.Int("shown", len(letters)))
	}
	return a.print(letters, func(w io.Writer) {
		table(w, letters, none, "SINCE\tEVENT\tTEMPLATE\tSUFFIX\tSTATUS\tREASON", func(w io.Writer, letter operate.DeadLetter) {
			reason := letter.Reason()
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", stamp(letter.CreatedAt), cmp.Or(letter.EventID, &uuid.Nil),
				flat(letter.Template()), flat(letter.Args().InstanceKeySuffix), flat(letter.Status), oneLine(&reason))
		})
		if more {
			fmt.Fprintf(w, "these are the oldest %d; there are more: select with --status or --event, or count them with iuworker status\n", len(letters))
		}
	})
}
