package webui

import "net/http"

// metricsPath is the path of the metrics below the base path.
const metricsPath = "metrics"

// isMetrics reports whether a request is for the metrics.
func (h *Handler) isMetrics(r *http.Request) bool {
	return h.cfg.Metrics != nil && r.URL.Path == h.at(metricsPath)
}

// open reports whether everybody who reaches the handler may read the metrics.
func (h *Handler) open() bool { return h.cfg.MetricsOpen && h.serves != servingPages }

// mayServeOthers reports whether the handler may listen where other machines reach it.
func (h *Handler) mayServeOthers() bool {
	return h.cfg.Credentials != nil || h.serves != servingPages && (h.cfg.MetricsTokens != nil || h.cfg.MetricsOpen)
}

// guardMetrics lets a request through if it has a token of the metrics, or if the metrics are open. With tokens and without
// credentials it refuses all others; otherwise they need what the pages need.
func (h *Handler) guardMetrics(next http.Handler) http.Handler {
	asPages := h.guard(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, isUser := r.BasicAuth()
		switch tokens := h.cfg.MetricsTokens; {
		case h.open(), h.withToken(r, tokens, "Metrics"):
			next.ServeHTTP(w, r)
		case tokens != nil && (h.cfg.Credentials == nil || !isUser):
			h.say(w, r, http.StatusUnauthorized, "%s", h.challenge(w, tokens))
		default:
			asPages.ServeHTTP(w, r)
		}
	})
}
