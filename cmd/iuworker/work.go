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
the program ends within --shutdown-timeout; a second signal ends it at once. Nothing is lost either way.

With --databases it works on many databases, each with a worker, a pool and pages (/d/NAME/) of its own. A line of the
file is a name and an address, or a name and file:PATH of a file that holds the address.`,
		Example: `  iuworker work --database-url postgres://iu_worker@db-1/shop
  iuworker work --databases /etc/iuworker/databases`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.logger = a.log.logger(a.stderr, a.getenv, toldLevel)
			a.tells = true
			if f.worker.ScaleoutConcurrency == 0 {
				f.worker.ScaleoutConcurrency = -1
			}
			if f.databases != "" {
				who, err := f.resolve(cmd, a.getenv)
				if err != nil {
					return err
				}
				f.worker.Given = givenSettings(cmd, addresses{})
				return untilSignal(cmd.Context(), a.workOnDatabases(cmd.Context(), cmd, f, who))
			}
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(f.poolSize, given(cmd, "pool-size"))
			f.worker.Given = givenSettings(cmd, at)
			who, err := f.resolve(cmd, a.getenv)
			if err != nil {
				return err
			}
			return untilSignal(cmd.Context(), a.serve(cmd.Context(), at, f, who, nil))
		},
	}
	takesSettings(cmd)
	f.register(cmd, ofWork)
	excludeFlags(cmd, "databases", "database-url", "database-url-file", "direct-database-url", "direct-database-url-file", "database-name")
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
