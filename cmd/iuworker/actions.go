package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/user"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

// query returns the RunE of a command that gets a result from the database, quickly, and prints it.
func query[T any](a *app, get func(ctx context.Context, pool *pgxpool.Pool, args []string) (T, error), write func(io.Writer, T),
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
			result, err := get(ctx, pool, args)
			if err != nil {
				return err
			}
			return a.print(result, func(w io.Writer) { write(w, result) })
		})
	}
}

// report prints what a check found, and returns failure unless the check passed.
func (a *app) report(found any, write func(io.Writer), passed bool, failure error) error {
	if err := a.print(found, write); err != nil || passed {
		return err
	}
	return failure
}

// firstOf returns the first lines up to a limit, and whether there are more.
func firstOf[T any](lines []T, limit int) (first []T, more bool) {
	return lines[:min(len(lines), limit)], len(lines) > limit
}

const actorMax = 200

func actorFlag(cmd *cobra.Command, to *string, what string) {
	cmd.Flags().Var(textValue(to, actorMax), "actor", what)
}

// operator returns who makes the changes of a command: actor, or the user who runs the program if that is "".
func operator(pool *pgxpool.Pool, actor string) operate.Operator {
	return operate.Operator{Pool: pool, Actor: cmp.Or(actor, systemUser())}
}

func auditFlag(cmd *cobra.Command, to *string) {
	actorFlag(cmd, to, "name for the audit (default the user of this process)")
}

func systemUser() string {
	current, err := user.Current()
	if err != nil || current.Username == "" {
		return "iuworker"
	}
	return current.Username
}

// confirmation is how a user confirms what cannot be undone: at the prompt of a terminal, or by a flag.
type confirmation struct {
	yes    bool
	expect int
	actor  string // for the audit; "": the user who runs the program
}

// stake is what would be lost.
type stake struct {
	count int64
	free  int64  // up to this count no confirmation is needed; -1: it always is
	what  string // the things that count counts: "events"
	done  string // what happens to them: "deleted"
	asks  string // the first sentence of the prompt; "" means "5 events will be deleted."
	word  string // what to type at the prompt; "" means yes
}

// registerYes adds --expect and --yes. registerExpect adds only --expect.
func (c *confirmation) registerYes(cmd *cobra.Command, what string) {
	c.registerExpect(cmd, what)
	cmd.Flags().BoolVar(&c.yes, "yes", false, "confirm without a prompt")
	excludeFlags(cmd, "expect", "yes")
}

func (c *confirmation) registerExpect(cmd *cobra.Command, what string) {
	cmd.Flags().Var(intValue(&c.expect, 0, math.MaxInt32), "expect", "confirm without a prompt, if there are exactly this many "+what)
}

// needs fails if the user confirmed a command that destroys nothing without a flag.
func (c *confirmation) needs(cmd *cobra.Command, flag string, destroys bool) error {
	if !destroys && (c.yes || given(cmd, "expect")) {
		return usage(cmd, "--expect and --yes need --%s", flag)
	}
	return nil
}

// most returns how many a change may take if so many were shown: the user agreed to these, or to any number.
func (c *confirmation) most(shown int64) int64 {
	if c.yes {
		return math.MaxInt64
	}
	return shown
}

// changes returns the RunE of a command that changes something: lost reads what is at stake, the user confirms it, and change
// changes at most that much.
func changes[T any](a *app, agreed *confirmation, lost func(ctx context.Context, pool *pgxpool.Pool, args []string) (stake, error),
	change func(ctx context.Context, by operate.Operator, args []string, most int64) (T, error), write func(io.Writer, T),
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
			stake, err := lost(ctx, pool, args)
			if err == nil {
				err = a.confirm(cmd, *agreed, stake)
			}
			if err != nil {
				return err
			}
			done, err := change(ctx, operator(pool, agreed.actor), args, agreed.most(stake.count))
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) { write(w, done) })
		})
	}
}

// confirm returns nil if the user confirms the loss of what is at stake. It asks if stdin is a terminal; without a terminal it
// needs a flag, and fails as wrong usage.
func (a *app) confirm(cmd *cobra.Command, c confirmation, s stake) error {
	expected := given(cmd, "expect")
	switch {
	case expected && int64(c.expect) != s.count:
		return fmt.Errorf("nothing was %s: there are %d %s now, not %d; check again", s.done, s.count, s.what, c.expect)
	case expected || c.yes || s.count <= s.free:
		return nil
	case isTerminal(os.Stdin):
		return ask(cmd.Context(), os.Stdin, a.stderr, s)
	case cmd.Flags().Lookup("yes") == nil:
		return usage(cmd, "nothing was %s: pass --expect %d to confirm", s.done, s.count)
	default:
		return usage(cmd, "nothing was %s: pass --yes, or --expect %d, to confirm", s.done, s.count)
	}
}

// ask waits until the user types a word, or ctx ends.
func ask(ctx context.Context, from io.Reader, to io.Writer, s stake) error {
	word := cmp.Or(s.word, "yes")
	asks := cmp.Or(s.asks, fmt.Sprintf("%d %s will be %s.", s.count, s.what, s.done))
	fmt.Fprintf(to, "%s Type %s to confirm: ", asks, flat(word))
	var typed string
	var err error
	wait(ctx, func() { typed, err = bufio.NewReader(from).ReadString('\n') })
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the confirmation: %w", ctx.Err())
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if strings.TrimRight(typed, "\r\n") != word {
		return fmt.Errorf("nothing was %s: you did not type %s", s.done, flat(word))
	}
	return nil
}
