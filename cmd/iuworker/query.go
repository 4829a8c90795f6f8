package main

import (
	"context"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
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
