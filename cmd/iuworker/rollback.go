package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

func (a *app) rollbackCommand() *cobra.Command {
	var actor string
	var execute bool
	var agreed confirmation
	cmd := &cobra.Command{
		Use:   "rollback --actor ACTOR",
		Short: "Delete the instances that were composed for an actor",
		Long: `Shows what a rollback would delete: log rows, lineage, memberships and instances of this actor only; which of them were
announced, and which consumers received them.
With --execute it deletes all of them or none, and only if the number is still the one shown: on a terminal after you type
the actor's name, otherwise if --expect gives that number. It is blocked if an instance is used elsewhere.
Announcements stay and are marked as rolled back. The same events sent again compose new instances.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			expected := given(cmd, "expect")
			if expected && !execute {
				return usage(cmd, "--expect needs --execute: it is the number of instances to delete")
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				shown, err := operate.PreviewRollback(ctx, pool, actor)
				if err == nil && execute && rollbackFailure(shown.RollbackReport) == nil && (expected || shown.Counts.EventLog > 0) {
					shown, err = a.rollback(ctx, cmd, pool, shown, agreed)
				}
				if err != nil {
					return err
				}
				failure := rollbackFailure(shown.RollbackReport)
				return a.report(shown, func(w io.Writer) { writeRollback(w, shown) }, failure == nil, failure)
			})
		},
	}
	actorFlag(cmd, &actor, "actor whose instances to delete")
	cmd.Flags().BoolVar(&execute, "execute", false, "delete them; without this flag nothing changes")
	requireFlags(cmd, "actor")
	agreed.registerExpect(cmd, "instances")
	return a.withJSON(cmd)
}

// rollback deletes what the preview shows, once the user agrees.
func (a *app) rollback(ctx context.Context, cmd *cobra.Command, pool *pgxpool.Pool, preview operate.RollbackPreview, agreed confirmation,
) (operate.RollbackPreview, error) {
	if !given(cmd, "expect") && isTerminal(os.Stdin) {
		writeRollback(a.stderr, preview)
	}
	actor, seen := preview.Actor, preview.Counts.EventLog
	err := a.confirm(cmd, agreed, stake{count: seen, what: fmt.Sprintf("instances of %q", actor), done: "deleted", word: actor})
	if err != nil {
		return preview, err
	}
	return operator(pool, "").Rollback(ctx, actor, seen)
}

func writeRollback(w io.Writer, preview operate.RollbackPreview) {
	report := preview.RollbackReport
	if report.Counts == (operate.RollbackCounts{}) && len(report.BlockedBy) == 0 && rollbackFailure(report) == nil {
		fmt.Fprintf(w, "nothing to roll back: actor %q has no instances\n", flat(report.Actor))
		writeToCome(w, report.Actor, preview.Reach)
		return
	}
	switch report.Status {
	case operate.RollbackReported:
		fmt.Fprintf(w, "a rollback of %s would delete:\n", report.Actor)
	case operate.RollbackRolledBack:
		fmt.Fprintf(w, "rolled back %s, deleted:\n", report.Actor)
	default:
		fmt.Fprintf(w, "rollback of %s: %s\n", report.Actor, report.Status)
	}
	columns(w, func(w io.Writer) {
		fmt.Fprintf(w, "  log rows\t%d\n", report.Counts.EventLog)
		fmt.Fprintf(w, "  lineage\t%d\n", report.Counts.Lineage)
		fmt.Fprintf(w, "  memberships\t%d\n", report.Counts.Membership)
		fmt.Fprintf(w, "  instances\t%d\n", report.Counts.Collection)
	})
	writeReach(w, report.Actor, preview.Reach)
	for _, blocker := range report.BlockedBy {
		fmt.Fprintf(w, "  %s is used by %s\n", blocker.InstanceKey, blocker.UsedBy)
	}
	if report.Status == operate.RollbackReported && report.Counts.EventLog > 0 {
		fmt.Fprintln(w, "nothing was changed; to delete them, add --execute")
	}
}

// announcedShown is how many announced instances are named; JSON names a hundred.
const announcedShown = 10

// writeReach writes which instances were announced, and which consumers received them.
func writeReach(w io.Writer, actor string, reach operate.Reach) {
	fmt.Fprintf(w, "already announced: %d of %d; these announcements stay, marked as rolled back\n", reach.Announced, reach.Instances)
	for i, instance := range reach.Sample {
		if instance.Position == nil {
			break
		}
		if i == announcedShown {
			fmt.Fprintf(w, "  and %d more\n", reach.Announced-announcedShown)
			break
		}
		fmt.Fprintf(w, "  %s at position %d\n", instance.Key, *instance.Position)
	}
	if reach.Announced > 0 {
		for _, consumer := range reach.Consumers {
			if consumer.Received == nil {
				fmt.Fprintf(w, "  consumer %s may have received some: its position is %s\n", flat(consumer.Name), consumer.State)
				continue
			}
			fmt.Fprintf(w, "  consumer %s received %d of them\n", flat(consumer.Name), *consumer.Received)
		}
	}
	writeToCome(w, actor, reach)
}

func writeToCome(w io.Writer, actor string, reach operate.Reach) {
	if reach.ToCome > 0 {
		fmt.Fprintf(w, "still to be composed: %d events of this actor, which a rollback does not touch; to cancel them, run: iuworker cancel --actor %s\n",
			reach.ToCome, shellWord(actor))
	}
}

func rollbackFailure(report operate.RollbackReport) error {
	switch report.Status {
	case operate.RollbackReported, operate.RollbackRolledBack:
		return nil
	case operate.RollbackBlocked:
		if len(report.BlockedBy) == 0 {
			return fmt.Errorf("the rollback of %q is blocked, and nothing was deleted", report.Actor)
		}
		first := report.BlockedBy[0]
		return fmt.Errorf("the rollback of %q is blocked and nothing was deleted: %s is used by %s; remove that use first",
			report.Actor, first.InstanceKey, first.UsedBy)
	default:
		return fmt.Errorf("the rollback of %q was refused: %s: %s", report.Actor, report.Status, report.Detail)
	}
}

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
