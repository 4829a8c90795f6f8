package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/worker/outbox"
)

func isNoTemplate(err error) bool {
	_, notFound := errors.AsType[*templates.NotFoundError](err)
	return notFound
}

// scaleoutCommand starts a scale-out itself, as it did before there were commands below it.
func (a *app) scaleoutCommand() *cobra.Command {
	cmd := a.scaleoutStartCommand("scaleout")
	cmd.Example = strings.ReplaceAll(cmd.Example, "scaleout --", "scaleout start --")
	cmd.Short = "Enqueue many jobs for a template, and manage them"
	return holds(cmd, a.scaleoutStartCommand("start"), a.scaleoutListCommand(), a.scaleoutStatusCommand(), a.scaleoutPauseCommand("pause", true),
		a.scaleoutPauseCommand("resume", false), a.scaleoutCancelCommand())
}

func (a *app) scaleoutStartCommand(name string) *cobra.Command {
	var template string
	var watch bool
	cfg := scaleout.Config{EmitMode: outbox.EmitLive}
	cmd := &cobra.Command{
		Use:   name + " --template TEMPLATE --count N --prefix PREFIX --actor ACTOR",
		Short: "Enqueue many jobs for a template",
		Long: `Enqueues one job per number from 1 to N in the queue scaleout, where they do not delay live events. The suffix of number n
is PREFIX-n, and its event id derives from that: a second run adds nothing, and an interrupted one continues.`,
		Example: `  iuworker scaleout --template welcome-letter --count 100000 --prefix spring --actor marketing --watch
  iuworker scaleout status spring
  iuworker scaleout cancel spring`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				found, err := templates.Find(ctx, pool, template)
				if err != nil {
					return err
				}
				cfg.Pool, cfg.Template, cfg.By = pool, found.ID, systemUser()
				return a.scaleout(ctx, cfg, watch)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(textValue(&template, 1000), "template", "collection key or id of the template")
	flags.Var(intValue(&cfg.Count, 1, scaleout.Max), "count", fmt.Sprintf("number of jobs, at most %d", scaleout.Max))
	flags.Var(textValue(&cfg.Prefix, prefixMax), "prefix", "prefix of the suffixes, which are global: the name of this scale-out")
	actorFlag(cmd, &cfg.Actor, "actor of the events; a rollback of this actor deletes the instances")
	flags.Var(choiceValue(&cfg.EmitMode, outbox.EmitLive, outbox.EmitDryRun), "emit-mode",
		"live announces the instances, dry_run only composes them")
	flags.Var(intValue(&cfg.Rate, 1, 1_000_000), "rate", "maximum number of jobs to enqueue per second (default as fast as the database takes them)")
	flags.BoolVar(&watch, "watch", false, "then show the progress until everything is composed; Ctrl-C does not stop the jobs")
	requireFlags(cmd, "template", "count", "prefix", "actor")
	return a.withJSON(cmd)
}

// prefixMax leaves room for the number.
const prefixMax = suffixMax - 9

func (a *app) scaleout(ctx context.Context, cfg scaleout.Config, watch bool) error {
	result, err := a.enqueueScaleout(ctx, cfg)
	if err != nil {
		return err
	}
	if !watch || !a.json { // JSON is one document, of the final state
		err := a.print(result, func(w io.Writer) { fmt.Fprintf(w, "%d added, %d skipped\n", result.Added, result.Skipped) })
		if err != nil || !watch {
			return err
		}
	}
	state := scaleout.Status{Prefix: cfg.Prefix, Left: scaleout.Left{Waiting: int64(cfg.Count)}}
	return a.watchToTheEnd(ctx, cfg.Pool, state)
}

// enqueueScaleout returns the progress even if it fails.
func (a *app) enqueueScaleout(ctx context.Context, cfg scaleout.Config) (scaleout.Result, error) {
	if isTerminal(a.stderr) {
		bar := progressbar.NewOptions(cfg.Count,
			progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription("jobs"),
			progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		defer func() { _ = bar.Clear() }() // a terminal that cannot be written to shows nothing anyway
		cfg.Progress = func(r scaleout.Result) { _ = bar.Set(r.Done) }
	}
	result, err := scaleout.Start(ctx, cfg)
	if err != nil && ctx.Err() != nil {
		return result, fmt.Errorf("interrupted after %d of %d: %d added, %d skipped; the same command continues from there",
			result.Done, result.Count, result.Added, result.Skipped)
	}
	if err != nil && result.Done > 0 {
		err = fmt.Errorf("failed after %d of %d (%d added, %d skipped): %w",
			result.Done, result.Count, result.Added, result.Skipped, err)
	}
	return result, err
}

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
		template := l.TemplateID.String()
		if l.TemplateKey != nil {
			template = *l.TemplateKey
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.0f\t%s\t%s\t%s\t%s\n", flat(l.Prefix), flat(template), l.State, l.Done, l.Total,
			l.DeadLetters, l.Waiting, l.Rate, ifKnown(l.SecondsLeft, timeLeft), stamp(l.StartedAt), flat(l.StartedBy), flat(l.Actor))
	})
}

func timeLeft(s float64) string { return seconds(s).Round(time.Second).String() }
