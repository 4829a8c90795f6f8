package main

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

func (a *app) cancelCommand() *cobra.Command {
	var actor string
	var agreed confirmation
	cmd := &cobra.Command{
		Use:   "cancel --actor ACTOR",
		Short: "Cancel an actor's events that have not been composed yet",
		Long: `Cancels an actor's jobs that have not run yet. They leave no dead letters; the same events sent again are composed.
Instances that were composed stay: iuworker rollback removes them. Jobs that are running finish.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "actor"); err != nil {
				return err
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				n, err := operate.CountToCome(ctx, pool, actor)
				if err != nil {
					return err
				}
				if err := a.confirm(cmd, agreed, stake{count: n, what: fmt.Sprintf("jobs of %q", actor), done: "cancelled"}); err != nil {
					return err
				}
				done, err := operator(pool, "").CancelActor(ctx, actor, agreed.most(n))
				if err != nil {
					return soFar(done.Cancelled, "cancelled", err)
				}
				return a.print(done, func(w io.Writer) {
					fmt.Fprintf(w, "%d cancelled", done.Cancelled)
					if done.Left > 0 {
						fmt.Fprintf(w, "; %d are running or still in the outbox: run it again in a moment", done.Left)
					}
					fmt.Fprintln(w)
				})
			})
		},
	}
	actorFlag(cmd, &actor, "actor whose events to cancel")
	agreed.registerYes(cmd, "jobs")
	a.jsonFlag(cmd)
	return cmd
}

// soFar adds to an error how many a change took before it failed.
func soFar(n int, did string, err error) error {
	if n == 0 {
		return err
	}
	return fmt.Errorf("%d %s, then: %w", n, did, err)
}
