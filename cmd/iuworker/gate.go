package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
)

var gateNames = []string{string(compose.GateComposer), string(compose.GateAutoInstantiate)}

func (a *app) gateCommand() *cobra.Command {
	return holds(&cobra.Command{
		Use:   "gate",
		Short: "Show, open or close the gates composer and auto-instantiate",
		Long: `The gate composer is needed to compose any instance; the gate auto-instantiate to compose one for a live event. While a
gate is closed, jobs that need it are parked. They use no attempt, and run at once when the gate opens.`,
	}, a.gateStatusCommand(), a.gateSetCommand("open", true), a.gateSetCommand("close", false))
}

func (a *app) gateStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show both gates and who last changed them",
		Args:  noArguments,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) ([]operate.Gate, error) {
			return operate.Gates(ctx, pool)
		}, func(w io.Writer, gates []operate.Gate) { columns(w, func(w io.Writer) { writeGates(w, gates) }) }),
	}
	a.jsonFlag(cmd)
	return cmd
}

func writeGates(w io.Writer, gates []operate.Gate) {
	for _, gate := range gates {
		fmt.Fprintf(w, "%s\t%s", gate.Gate, state(w, openOrClosed(gate.Open)))
		if gate.UpdatedBy != nil && gate.UpdatedAt != nil {
			fmt.Fprintf(w, "\tby %s, %s", oneLine(gate.UpdatedBy), stamp(*gate.UpdatedAt))
		}
		fmt.Fprintln(w)
	}
}

func openOrClosed(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

func (a *app) gateSetCommand(name string, open bool) *cobra.Command {
	var actor string
	var agreed confirmation
	cmd := &cobra.Command{
		Use:       name + " composer|auto-instantiate",
		Short:     strings.ToUpper(name[:1]) + name[1:] + " a gate",
		ValidArgs: gateNames,
		Args:      oneGate,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				gate := compose.Gate(args[0])
				if open {
					if err := a.agreeToRelease(ctx, cmd, pool, gate, agreed); err != nil {
						return err
					}
				}
				by := operator(pool, actor)
				done, err := by.SetGate(ctx, gate, open)
				if err != nil {
					return err
				}
				moved := gateMoved{Gate: gate, Before: openOrClosed(done.WasOpen), Now: openOrClosed(open), Actor: by.Actor, Parked: done.Parked}
				return a.print(moved, moved.write)
			})
		},
	}
	auditFlag(cmd, &actor)
	if open {
		agreed.registerYes(cmd, "parked jobs")
	}
	a.jsonFlag(cmd)
	return cmd
}

// askAbove is how many parked jobs a gate may release without confirmation.
const askAbove = 1000

// agreeToRelease asks the user to agree if opening a gate releases many parked jobs.
func (a *app) agreeToRelease(ctx context.Context, cmd *cobra.Command, pool *pgxpool.Pool, gate compose.Gate, agreed confirmation) error {
	parked, err := operate.ParkedBy(ctx, pool, gate)
	if err != nil || parked <= askAbove && !agreed.given {
		return err
	}
	what := fmt.Sprintf("jobs parked for the gate %s", gate)
	return a.confirm(cmd, agreed, stake{
		count: parked, what: what, done: "opened", asks: fmt.Sprintf("%s %s will run now.", operate.Thousands(parked), what),
	})
}

var oneGate = oneArgument("a gate: "+strings.Join(gateNames, " or "), "gate", func(cmd *cobra.Command, gate string) error {
	if !slices.Contains(gateNames, gate) {
		return usage(cmd, "there is no gate %s: use %s", quoted(gate), strings.Join(gateNames, " or "))
	}
	return nil
})

type gateMoved struct {
	Gate   compose.Gate `json:"gate"`
	Before string       `json:"before"`
	Now    string       `json:"now"`
	Actor  string       `json:"actor"`
	Parked int64        `json:"parked,omitempty"` // jobs that waited for the gate and run now
}

func (m gateMoved) write(w io.Writer) {
	if m.Before == m.Now {
		fmt.Fprintf(w, "%s was already %s\n", m.Gate, m.Now)
		return
	}
	did := "closed"
	if m.Now == openOrClosed(true) {
		did = "opened"
	}
	fmt.Fprintf(w, "%s %s (by %s)", did, m.Gate, flat(m.Actor))
	if m.Parked > 0 {
		fmt.Fprintf(w, "; %s will run now", plural(int(m.Parked), "parked job", "parked jobs"))
	}
	fmt.Fprintln(w)
}
