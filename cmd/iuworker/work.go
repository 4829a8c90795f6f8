package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/tracing"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

func (a *app) workCommand() *cobra.Command {
	f := defaultWorkFlags()
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Run the worker: relay, jobs, emitter and pages",
		Long: `Runs all parts in one process. Any number of processes share the work. SIGTERM and Ctrl-C let running jobs finish, and
the program ends within --shutdown-timeout; a second signal ends it at once. Nothing is lost either way.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.logger = a.log.logger(a.stderr, a.getenv, toldLevel)
			a.tells = true
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(f.poolSize, given(cmd, "pool-size"))
			f.worker.Given = givenSettings(cmd, at)
			if f.worker.ScaleoutConcurrency == 0 {
				f.worker.ScaleoutConcurrency = -1
			}
			who, err := f.resolve(cmd, a.getenv)
			if err != nil {
				return err
			}
			return untilSignal(cmd.Context(), a.serve(cmd.Context(), at, f, who, nil))
		},
	}
	takesSettings(cmd)
	f.register(cmd, ofWork)
	return cmd
}

// otlpVariables are OpenTelemetry's own, which set the receiver of all programs.
const otlpVariables = "$OTEL_EXPORTER_OTLP_ENDPOINT"

// trace sends the worker's spans to the endpoint, if there is one; stop sends the last spans.
func (a *app) trace(ctx context.Context, cfg *worker.Config, endpoint string) (stop func(), err error) {
	if endpoint == "" {
		return func() {}, nil
	}
	provider, err := tracing.New(ctx, tracing.Config{Endpoint: endpoint, Version: iusql.ProgramVersion, Instance: cfg.ID, Logger: a.logger})
	if err != nil {
		return nil, err
	}
	cfg.Tracing = provider
	return func() {
		ctx, cancel := a.stopContext(ctx, 2*lastStops)
		defer cancel()
		ctx, stop := context.WithTimeout(ctx, readyWithin)
		defer stop()
		if err := provider.Stop(ctx); err != nil {
			a.logger.WarnContext(ctx, "Tracing: the last spans are lost", slog.String("error", err.Error()))
		}
	}, nil
}
