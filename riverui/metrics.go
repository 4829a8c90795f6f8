package webui

import (
	"errors"
	"net/http"
)

// serving is what a handler serves, for messages: to whom it listens is told by the flag.
type serving struct{ component, what, these, flag, example string }

var (
	servingPages   = serving{"Pages", "the pages", "these pages", "--http-addr", DefaultAddr}
	servingMetrics = serving{"Metrics", "the metrics", "the metrics", "--metrics-addr", DefaultMetricsAddr}
)

// DefaultMetricsAddr is an address for the metrics where they are served apart.
const DefaultMetricsAddr = "127.0.0.1:9464"

// NewMetrics builds a handler that serves Config.Metrics and the probes, and none of the pages: for an address of its
// own. BasePath does not concern it. It asks for credentials as the pages do.
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
