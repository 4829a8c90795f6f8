package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/tracing"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker"
)

// otlpVariables are OpenTelemetry's own, which set the receiver of all programs.
const otlpVariables = "$OTEL_EXPORTER_OTLP_ENDPOINT"

// readTracing sets the receiver's URL; "" if there is none.
func (f *workFlags) readTracing(cmd *cobra.Command, getenv func(string) string) error {
	given := f.otlp
	endpoint, err := tracing.Endpoint(given, getenv)
	if err != nil {
		name := "--otlp-endpoint"
		if given == "" {
			name = otlpVariables
		}
		return usage(cmd, "%s: %v", name, err)
	}
	f.otlp = endpoint
	return nil
}

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
