package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/scaleout"
)

func (a *app) scaleoutListCommand() *cobra.Command {
	limit := 50
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List scale-outs and their progress",
		Long:  `Lists the scale-outs, the latest first. DONE counts jobs that ended, however they ended; DEAD LETTERS are among them.`,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) ([]scaleout.Line, error) {
			return scaleout.List(ctx, pool, limit)
		}, writeScaleouts),
	}
	cmd.Flags().Var(intValue(&limit, 1, 1000), "limit", "scale-outs to list")
	return a.withJSON(cmd)
}

func writeScaleouts(w io.Writer, lines []scaleout.Line) {
	const none = "no scale-outs; to start one, run: iuworker scaleout start --template KEY --count N --prefix PREFIX --actor ACTOR"
	const heading = "PREFIX\tTEMPLATE\tSTATE\tDONE\tTOTAL\tDEAD LETTERS\tWAITING\tPER SECOND\tTIME LEFT\tSTARTED\tBY\tACTOR"
	table(w, lines, none, heading, func(w io.Writer, l scaleout.Line) {
		template, left := l.TemplateID.String(), ""
		if l.TemplateKey != nil {
			template = *l.TemplateKey
		}
		if l.SecondsLeft != nil {
			left = seconds(*l.SecondsLeft).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.0f\t%s\t%s\t%s\t%s\n", flat(l.Prefix), flat(template), l.State, l.Done, l.Total,
			l.DeadLetters, l.Waiting, l.Rate, left, stamp(l.StartedAt), flat(l.StartedBy), flat(l.Actor))
	})
}
