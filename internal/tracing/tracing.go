package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/iu-core/iuworker/internal/retry"
)

// Config configures a Provider. The zero value of a field means its default.
type Config struct {
	// Endpoint is the URL to which spans are posted, as Endpoint returns it. Required.
	Endpoint string

	// Version is the program's version. Instance identifies this process; default: host and pid do.
	Version, Instance string

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// queueSize is how many spans may wait to be sent. Spans beyond that are dropped.
const queueSize = 1 << 14

// Provider is a trace.TracerProvider that sends spans in the background. Safe for concurrent use.
type Provider struct{ *sdktrace.TracerProvider }

// New returns a provider, without connecting. Headers, certificates, the sampler and the name of the service come from
// OpenTelemetry's variables (OTEL_*). Stop it when done.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(cfg.Endpoint))
	if err != nil {
		return nil, fmt.Errorf("set tracing up: %w", err)
	}
	process := []attribute.KeyValue{attribute.String("service.name", "iuworker"), attribute.String("service.version", cfg.Version)}
	if cfg.Instance != "" {
		process = append(process, attribute.String("service.instance.id", cfg.Instance))
	}
	about, err := resource.New(ctx, resource.WithAttributes(process...), resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set tracing up: %w", err), exporter.Shutdown(ctx))
	}
	client := &reporting{
		SpanExporter: exporter, outage: &retry.Outage{Logger: cfg.Logger, What: "Tracing: receiver"},
	}
	return &Provider{sdktrace.NewTracerProvider(
		sdktrace.WithResource(about), sdktrace.WithBatcher(client, sdktrace.WithMaxQueueSize(queueSize)))}, nil
}

// Stop sends the last spans, at most until ctx is done.
func (p *Provider) Stop(ctx context.Context) error {
	if err := p.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// reporting logs once when spans cannot be sent, and once when they can be sent again.
type reporting struct {
	sdktrace.SpanExporter

	outage *retry.Outage
}

// ExportSpans implements sdktrace.SpanExporter. It logs failures and never returns one.
func (r *reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil {
		r.outage.Failed(context.WithoutCancel(ctx), err)
		return nil
	}
	r.outage.Worked(ctx)
	return nil
}

// ErrEndpoint is wrapped by the error of Endpoint for an invalid URL.
var ErrEndpoint = errors.New("not the URL of an OTLP receiver")

// Endpoint returns the URL to which spans are posted: below the given URL of a receiver, or else from OpenTelemetry's
// variables. It returns "" if nothing is configured, or OTEL_SDK_DISABLED is true.
func Endpoint(given string, getenv func(string) string) (string, error) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return "", nil
	}
	base := given
	if base == "" {
		if whole := getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); whole != "" {
			_, err := parse(whole)
			return whole, err
		}
		base = getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	if base == "" {
		return "", nil
	}
	at, err := parse(base)
	if err != nil {
		return "", err
	}
	return at.JoinPath("v1", "traces").String(), nil
}

func parse(text string) (*url.URL, error) {
	at, err := url.Parse(text)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%w: it must be like http://127.0.0.1:4318", ErrEndpoint) // the URL may hold a password
	}
	return at, nil
}
