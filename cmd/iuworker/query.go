package main

import (
	"cmp"
	"context"
	"io"
	"os/user"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

// query returns what a command runs that gets a result from the database, quickly, and prints it.
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

// actorFlag adds --actor.
func actorFlag(cmd *cobra.Command, to *string, what string) {
	cmd.Flags().Var(textValue(to, actorMax), "actor", what)
}

// operator returns who makes the changes of a command: actor, or the user who runs the program if that is "".
func operator(pool *pgxpool.Pool, actor string) operate.Operator {
	return operate.Operator{Pool: pool, Actor: cmp.Or(actor, systemUser())}
}

// auditFlag adds --actor for the name in the audit.
func auditFlag(cmd *cobra.Command, to *string) {
	actorFlag(cmd, to, "name for the audit (default the user of this process)")
}

// systemUser returns the user who runs the program.
func systemUser() string {
	current, err := user.Current()
	if err != nil || current.Username == "" {
		return "iuworker"
	}
	return current.Username
}
