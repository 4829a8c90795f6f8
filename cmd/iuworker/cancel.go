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
		RunE: changes(a, &agreed, func(ctx context.Context, pool *pgxpool.Pool, _ []string) (stake, error) {
			n, err := operate.CountToCome(ctx, pool, actor)
			return stake{count: n, what: fmt.Sprintf("jobs of %q", actor), done: "cancelled"}, err
		}, func(ctx context.Context, by operate.Operator, _ []string, most int64) (operate.Cancelled, error) {
			return by.CancelActor(ctx, actor, most)
		}, func(w io.Writer, done operate.Cancelled) {
			writeCancelled(w, done, "are running or still in the outbox: run it again in a moment")
		}),
	}
	actorFlag(cmd, &actor, "actor whose events to cancel")
	requireFlags(cmd, "actor")
	agreed.registerYes(cmd, "jobs")
	return a.withJSON(cmd)
}

func writeCancelled(w io.Writer, done operate.Cancelled, left string) {
	fmt.Fprintf(w, "%d cancelled", done.Cancelled)
	if done.Left > 0 {
		fmt.Fprintf(w, "; %d %s", done.Left, left)
	}
	fmt.Fprintln(w)
}
