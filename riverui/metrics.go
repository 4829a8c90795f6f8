package webui

import (
	"errors"
	"net/http"
)

// serving names what a handler serves, for messages.
type serving struct{ component, what, these, flag, example string }

var (
	servingPages   = serving{"Pages", "the pages", "these pages", "--http-addr", DefaultAddr}
	servingMetrics = serving{"Metrics", "the metrics", "the metrics", "--metrics-addr", DefaultMetricsAddr}

	servingPublisher = serving{"Publisher", "the metrics", "the metrics", "--http-addr", DefaultPublisherAddr}
)

// DefaultMetricsAddr is the suggested address for metrics that are served on a port of their own.
const DefaultMetricsAddr = "127.0.0.1:9464"

// DefaultPublisherAddr is the default address of a process that publishes to a log.
const DefaultPublisherAddr = "127.0.0.1:8081"

// NewMetrics returns a handler for an address of its own: it serves Config.Metrics and the probes at the root, and no pages. It
// requires credentials as the pages do.
func NewMetrics(cfg Config) (*Handler, error) { return newMetrics(cfg, servingMetrics) }

// NewPublisher is NewMetrics for a process that publishes to a log.
func NewPublisher(cfg Config) (*Handler, error) { return newMetrics(cfg, servingPublisher) }

func newMetrics(cfg Config, serves serving) (*Handler, error) {
	cfg.BasePath = ""
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Metrics == nil {
		return nil, errors.New("webui: Config.Metrics is required")
	}
	h := &Handler{cfg: cfg, probes: &probes{ready: cfg.Ready}, serves: serves}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", cfg.Metrics)
	h.handler = withHeaders(withLimits(h.behindProbes(mux)))
	return h, nil
}
