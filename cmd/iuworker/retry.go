package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/spelling"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

const deadLettersShown = 100

const retryHelp = `A dead letter is an event that ended without an instance. First fix the cause, which its detail names. Then retry it: it
becomes an outbox row again. An event that fails again becomes a dead letter again.`

// deadLettersCommand is retry with one command per verb.
func (a *app) deadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, retry or drop events that ended without an instance",
	}
	const chosen = " --status STATUS | --event ID | --all"
	for _, verb := range []struct {
		name, use, short, long, flag string
		hidden                       []string
	}{
		{
			"list", " [--status STATUS | --event ID]", "List dead letters, the oldest first",
			fmt.Sprintf("Lists the oldest %d dead letters, with their template and why no instance was composed.", deadLettersShown),
			"list", []string{"list", "drop", "all", "yes", "expect"},
		},
		{"retry", chosen, "Put dead letters back into the outbox", retryHelp, "", []string{"list", "drop", "yes", "expect"}},
		{
			"drop", chosen, "Delete dead letters permanently",
			"Deletes dead letters permanently. To process their events, the application must send them again.",
			"drop", []string{"list", "drop"},
		},
	} {
		sub := a.retryCommand()
		sub.Use, sub.Short = verb.name+verb.use, verb.short
		sub.Long = verb.long
		for _, flag := range verb.hidden {
			_ = sub.Flags().MarkHidden(flag) // they exist
		}
		if verb.flag != "" {
			_ = sub.Flags().Set(verb.flag, "true")
		}
		cmd.AddCommand(sub)
	}
	return holds(cmd)
}

func (a *app) retryCommand() *cobra.Command {
	var (
		choice          operate.Selection
		all, list, drop bool
		agreed          confirmation
	)
	cmd := &cobra.Command{
		Use:   "retry --status STATUS | --event ID | --all",
		Short: "Same as dead-letters retry",
		Long:  retryHelp + "\nThis is the old name of: iuworker dead-letters list, retry and drop.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRetry(cmd); err != nil {
				return err
			}
			if err := agreed.needs(cmd, "drop", drop); err != nil {
				return err
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				if list {
					return a.listDeadLetters(ctx, pool, choice)
				}
				if !drop {
					moved, err := operator(pool, "").RetryDeadLetters(ctx, operate.Letters{Filter: choice}, math.MaxInt64)
					return a.reportRetry(ctx, pool, "retried", choice, moved, err)
				}
				n, err := operate.CountDeadLetters(ctx, pool, choice)
				if err == nil {
					err = a.confirm(cmd, agreed, stake{count: n, what: "dead letters", done: "dropped"})
				}
				if err != nil {
					return err
				}
				moved, err := operator(pool, "").DropDeadLetters(ctx, operate.Letters{Filter: choice}, agreed.most(n))
				return a.reportRetry(ctx, pool, "dropped", choice, moved, err)
			})
		},
	}
	cmd.Flags().Var(textValue(&choice.Status, 200), "status", "dead letters with this status, such as template_not_found")
	cmd.Flags().Var(uuidValue(&choice.EventID), "event", "dead letters of this event")
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	cmd.Flags().BoolVar(&list, "list", false, fmt.Sprintf("list the oldest %d instead", deadLettersShown))
	cmd.Flags().BoolVar(&drop, "drop", false, "drop them instead")
	agreed.registerYes(cmd, "dead letters")
	a.jsonFlag(cmd)
	return cmd
}

// checkRetry fails unless the flags say which dead letters.
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
		return usage(cmd, "say which dead letters: --status, --event or --all; to see them, run: iuworker dead-letters list")
	}
	return nil
}

// reportRetry prints how many were moved, also if an error came half-way: those stay moved.
func (a *app) reportRetry(
	ctx context.Context, pool *pgxpool.Pool, what string, choice operate.Selection, moved operate.Moved, err error,
) error {
	if err != nil {
		return soFar(moved.Done, what, err)
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

// noDeadLetters says that there are none of what was chosen, and which status may have been meant.
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
	more := len(letters) > deadLettersShown
	letters = letters[:min(len(letters), deadLettersShown)]
	lines, err := letterLines(ctx, pool, letters)
	if err != nil {
		return err
	}
	none, err := noDeadLetters(ctx, pool, choice)
	if err != nil {
		return err
	}
	if more && a.json {
		a.logger.WarnContext(ctx, "Dead letters: there are more", slog.Int("shown", len(letters)))
	}
	return a.print(letters, func(w io.Writer) {
		if len(letters) == 0 {
			fmt.Fprintln(w, none)
			return
		}
		columns(w, func(w io.Writer) {
			fmt.Fprintln(w, "SINCE\tEVENT\tTEMPLATE\tSUFFIX\tSTATUS\tREASON")
			for _, line := range lines {
				fmt.Fprintln(w, line)
			}
		})
		if more {
			fmt.Fprintf(w, "these are the oldest %d; there are more: select with --status or --event, or count them with iuworker status\n", len(letters))
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
		template := cmp.Or(keys[ids[i]], ids[i].String())
		reason := letter.Reason(template, events[i].InstanceKeySuffix)
		lines[i] = strings.Join([]string{
			stamp(letter.CreatedAt), cmp.Or(letter.EventID, &uuid.Nil).String(), flat(template),
			flat(events[i].InstanceKeySuffix), flat(letter.Status), oneLine(&reason),
		}, "\t")
	}
	return lines, nil
}
