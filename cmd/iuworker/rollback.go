package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/operate"
)

func (a *app) rollbackCommand() *cobra.Command {
	var actor string
	var execute, asJSON bool
	var expected int
	cmd := &cobra.Command{
		Use:   "rollback --actor ACTOR",
		Short: "Take away the instances that were composed for an actor",
		Long: `Shows what a rollback would delete: log rows, lineage, memberships and instances of that actor, and of nobody else; which
of them were announced, and to which consumers they went.
With --execute it deletes them, all or none: on a terminal after you have typed the actor's name, and only if there are
as many as were shown; --expect says that number where nobody can be asked. It is blocked where an instance is used
elsewhere. Announcements that were made stay, and are marked as rolled back; the same events said again compose anew.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "actor"); err != nil {
				return err
			}
			var seen *int64
			if cmd.Flags().Changed("expect") {
				if !execute {
					return usage(cmd, "--expect is for --execute: how many instances it may delete")
				}
				n := int64(expected)
				seen = &n
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				return a.rollback(ctx, pool, actor, execute, seen, asJSON)
			})
		},
	}
	actorFlag(cmd, &actor, "whose instances")
	cmd.Flags().BoolVar(&execute, "execute", false, "delete them; without it nothing is changed")
	cmd.Flags().Var(&intValue{&expected, 0, math.MaxInt32}, "expect", "with --execute: delete nothing unless there are so many instances")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) rollback(ctx context.Context, pool *pgxpool.Pool, actor string, execute bool, seen *int64, asJSON bool) error {
	ask := execute && seen == nil && isTerminal(os.Stdin) && isTerminal(a.stderr)
	if !execute || ask {
		preview, err := operate.PreviewRollback(ctx, pool, actor)
		if err != nil {
			return err
		}
		if !ask {
			if err := a.print(asJSON, preview, func(w io.Writer) { writeRollback(w, preview) }); err != nil {
				return err
			}
			return rollbackFailure(preview.RollbackReport)
		}
		writeRollback(a.stderr, preview)
		if err := rollbackFailure(preview.RollbackReport); err != nil || preview.Counts.EventLog == 0 {
			return err
		}
		if err := confirm(ctx, os.Stdin, a.stderr, actor); err != nil {
			return err
		}
		seen = &preview.Counts.EventLog
	}
	done, err := rollBack(ctx, pool, actor, seen)
	if errors.Is(err, operate.ErrNotAsSeen) {
		return fmt.Errorf("nothing was deleted: there are %d instances of %q now, not %d; look again", done.Counts.EventLog, actor, *seen)
	}
	if err != nil {
		return err
	}
	if err := a.print(asJSON, done, func(w io.Writer) { writeRollback(w, done) }); err != nil {
		return err
	}
	return rollbackFailure(done.RollbackReport)
}

// confirm lets somebody type a name, and fails where it is another.
func confirm(ctx context.Context, from io.Reader, to io.Writer, name string) error {
	fmt.Fprintf(to, "to delete them, type the actor's name, %s: ", flat(name))
	var typed string
	var err error
	wait(ctx, func() { typed, err = bufio.NewReader(from).ReadString('\n') })
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the actor's name: %w", ctx.Err())
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the actor's name: %w", err)
	}
	if strings.TrimRight(typed, "\r\n") != name {
		return errors.New("nothing was deleted: that is not the actor's name")
	}
	return nil
}

// rollBack leaves an audit line in the transaction that deletes.
func rollBack(ctx context.Context, pool *pgxpool.Pool, actor string, seen *int64) (done operate.RollbackPreview, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if done, err = operate.RollbackAsSeen(ctx, tx, actor, seen); err != nil || done.Status != operate.RollbackRolledBack {
			return err
		}
		_, err = operate.RecordAudit(ctx, tx, systemUser(), "rollback", done.AuditDetail())
		return err
	})
	return done, err
}

func writeRollback(w io.Writer, preview operate.RollbackPreview) {
	report := preview.RollbackReport
	if report.Counts == (operate.RollbackCounts{}) && len(report.BlockedBy) == 0 && rollbackFailure(report) == nil {
		fmt.Fprintf(w, "there is nothing to roll back: no instance is there that was composed for %s\n", flat(report.Actor))
		writeToCome(w, preview.Reach)
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
	writeReach(w, preview.Reach)
	for _, blocker := range report.BlockedBy {
		fmt.Fprintf(w, "  %s is used by %s\n", blocker.InstanceKey, blocker.UsedBy)
	}
	if report.Status == operate.RollbackReported && report.Counts.EventLog > 0 {
		fmt.Fprintln(w, "nothing was changed; --execute deletes them")
	}
}

// announcedShown is how many announced instances are named; JSON names a hundred.
const announcedShown = 10

// writeReach says who knows of the instances already.
func writeReach(w io.Writer, reach operate.Reach) {
	fmt.Fprintf(w, "announced already: %d of %d; these announcements stay, marked as rolled back\n", reach.Announced, reach.Instances)
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
				fmt.Fprintf(w, "  consumer %s is %s: nobody knows how many it was given\n", flat(consumer.Name), consumer.State)
				continue
			}
			fmt.Fprintf(w, "  consumer %s was given %d of them\n", flat(consumer.Name), *consumer.Received)
		}
	}
	writeToCome(w, reach)
}

func writeToCome(w io.Writer, reach operate.Reach) {
	if reach.ToCome > 0 {
		fmt.Fprintf(w, "still to be composed: %d events of this actor, which a rollback leaves; cancel their jobs or close a gate first\n", reach.ToCome)
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
