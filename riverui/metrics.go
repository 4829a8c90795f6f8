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
)

// DefaultMetricsAddr is the suggested address for metrics that are served on a port of their own.
const DefaultMetricsAddr = "127.0.0.1:9464"

// NewMetrics returns a handler for an address of its own: it serves Config.Metrics and the probes at the root, and no pages. It
// requires credentials as the pages do.
func NewMetrics(cfg Config) (*Handler, error) {
	cfg.BasePath = ""
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Metrics == nil {
		return nil, errors.New("webui: Config.Metrics is required")
	}
	h := &Handler{cfg: cfg, probes: &probes{ready: cfg.Ready}, serves: servingMetrics}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", cfg.Metrics)
	h.handler = withHeaders(withLimits(h.behindProbes(mux)))
	return h, nil
}
