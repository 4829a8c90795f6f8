package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/operate"
	"github.com/iu-core/iuworker/worker/outbox"
)

func isNoTemplate(err error) bool {
	_, notFound := errors.AsType[*operate.TemplateNotFoundError](err)
	return notFound
}

func (a *app) scaleoutCommand() *cobra.Command {
	var template string
	var asJSON, watch bool
	cfg := operate.ScaleoutConfig{EmitMode: outbox.EmitLive}
	cmd := &cobra.Command{
		Use:   "scaleout --template TEMPLATE --count N --prefix PREFIX --actor ACTOR",
		Short: "Enqueue many jobs for a template, in a queue of their own",
		Long: `Enqueues a job for each number from 1 to N, in the queue scaleout, where they delay no live event. The suffix of number
n is PREFIX-n, and its event id comes from that: a second run adds nothing, and one that was cut off goes on.`,
		Example: `  iuworker scaleout --template welcome-letter --count 100000 --prefix spring --actor marketing --watch
  iuworker scaleout status spring
  iuworker scaleout cancel spring`,
		Args:        noSuchSubcommand,
		Annotations: acts,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "template", "prefix", "actor"); err != nil {
				return err
			}
			if cfg.Count == 0 {
				return usage(cmd, "--count is missing")
			}
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				found, err := operate.FindTemplate(ctx, pool, template)
				if err != nil {
					return err
				}
				cfg.Pool, cfg.Template, cfg.By = pool, found.ID, systemUser()
				return a.scaleout(ctx, cfg, watch, asJSON)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(&textValue{&template, 1000}, "template", "the template: its collection key or its id")
	flags.Var(&intValue{&cfg.Count, 1, operate.MaxScaleout}, "count", fmt.Sprintf("how many, at most %d", operate.MaxScaleout))
	flags.Var(&textValue{&cfg.Prefix, prefixMax}, "prefix", "name of this scale-out; suffixes are global")
	actorFlag(cmd, &cfg.Actor, "who does it; a rollback of this actor takes the instances away")
	flags.Var(&choiceValue{&cfg.EmitMode, []string{outbox.EmitLive, outbox.EmitDryRun}}, "emit-mode",
		"live announces the instances, dry_run only composes them")
	flags.Var(&intValue{&cfg.Rate, 1, 1_000_000}, "rate", "enqueue at most so many a second (default as many as the database takes)")
	flags.BoolVar(&watch, "watch", false, "then show how far it is, until all is composed; Ctrl-C leaves the jobs working")
	jsonFlag(cmd, &asJSON)
	cmd.AddCommand(a.scaleoutListCommand(), a.scaleoutStatusCommand(), a.scaleoutPauseCommand("pause", true), a.scaleoutPauseCommand("resume", false),
		a.scaleoutCancelCommand())
	return cmd
}

// prefixMax leaves room for the number.
const prefixMax = suffixMax - 9

func (a *app) scaleout(ctx context.Context, cfg operate.ScaleoutConfig, watch, asJSON bool) error {
	result, err := a.enqueueScaleout(ctx, cfg)
	if err != nil {
		return err
	}
	if !watch || !asJSON { // of JSON there is one document
		err := a.print(asJSON, result, func(w io.Writer) { fmt.Fprintf(w, "%d added, %d skipped\n", result.Added, result.Skipped) })
		if err != nil || !watch {
			return err
		}
	}
	state := operate.ScaleoutState{Prefix: cfg.Prefix, ScaleoutLeft: operate.ScaleoutLeft{Waiting: int64(cfg.Count)}}
	return a.watchToTheEnd(ctx, cfg.Pool, state, asJSON)
}

// enqueueScaleout says how far it came also where it fails.
func (a *app) enqueueScaleout(ctx context.Context, cfg operate.ScaleoutConfig) (operate.ScaleoutResult, error) {
	if isTerminal(a.stderr) {
		bar := progressbar.NewOptions(cfg.Count,
			progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription("jobs"),
			progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
		defer func() { _ = bar.Clear() }() // a terminal that cannot be written to shows nothing anyway
		cfg.Progress = func(r operate.ScaleoutResult) { _ = bar.Set(r.Done) }
	}
	result, err := operate.Scaleout(ctx, cfg)
	if err != nil && ctx.Err() != nil {
		return result, fmt.Errorf("interrupted after %d of %d: %d added, %d skipped; the same command goes on from there",
			result.Done, result.Count, result.Added, result.Skipped)
	}
	if err != nil && result.Done > 0 {
		err = fmt.Errorf("failed after %d of %d (%d added, %d skipped): %w",
			result.Done, result.Count, result.Added, result.Skipped, err)
	}
	return result, err
}
