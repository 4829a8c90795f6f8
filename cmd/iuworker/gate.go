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
	return a.withJSON(&cobra.Command{
		Use:   "status",
		Short: "Show both gates and who last changed them",
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) ([]operate.Gate, error) {
			return operate.Gates(ctx, pool)
		}, writeGates),
	})
}

func writeGates(w io.Writer, gates []operate.Gate) {
	columns(w, func(w io.Writer) {
		for _, gate := range gates {
			fmt.Fprintf(w, "%s\t%s", gate.Gate, state(w, openOrClosed(gate.Open)))
			if gate.UpdatedBy != nil && gate.UpdatedAt != nil {
				fmt.Fprintf(w, "\tby %s, %s", oneLine(gate.UpdatedBy), stamp(*gate.UpdatedAt))
			}
			fmt.Fprintln(w)
		}
	})
}

func openOrClosed(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

// askAbove is how many parked jobs a gate may release without confirmation.
const askAbove = 1000

func (a *app) gateSetCommand(name string, open bool) *cobra.Command {
	var agreed confirmation
	cmd := &cobra.Command{
		Use:       name + " composer|auto-instantiate",
		Short:     strings.ToUpper(name[:1]) + name[1:] + " a gate",
		ValidArgs: gateNames,
		Args:      oneGate,
		RunE: changes(a, &agreed, func(ctx context.Context, pool *pgxpool.Pool, args []string) (released stake, err error) {
			if open {
				released = stake{what: "jobs parked for the gate " + args[0], done: "opened", free: askAbove}
				released.count, err = operate.ParkedBy(ctx, pool, compose.Gate(args[0]))
				released.asks = fmt.Sprintf("%s %s will run now.", operate.Thousands(released.count), released.what)
			}
			return released, err
		}, func(ctx context.Context, by operate.Operator, args []string, _ int64) (gateMoved, error) {
			gate := compose.Gate(args[0])
			done, err := by.SetGate(ctx, gate, open)
			return gateMoved{Gate: gate, Before: openOrClosed(done.WasOpen), Now: openOrClosed(open), Actor: by.Actor, Parked: done.Parked}, err
		}, writeGateMoved),
	}
	auditFlag(cmd, &agreed.actor)
	if open {
		agreed.registerYes(cmd, "parked jobs")
	}
	return a.withJSON(cmd)
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

func writeGateMoved(w io.Writer, m gateMoved) {
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
