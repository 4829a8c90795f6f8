package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"riverqueue.com/riverui"

	"github.com/iu-core/iuworker/riverui/eventstream"
)

// Handler serves everything below the base path. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	serves  serving
	handler http.Handler
	probes  *probes

	life context.Context // of what runs between requests, and of streams
	stop context.CancelFunc

	// NewMetrics leaves these empty.
	streams chan struct{} // holds an element for each page that is kept up to date

	// The index of databases leaves these empty, too.
	sources     *sources
	river       *riverui.Handler
	startRiver  func() error // starts what River UI runs between requests, once
	riverClient *river.Client[pgx.Tx]
}

// serving names what a handler serves, for messages.
type serving struct{ component, what, these, flag, example, wayOut string }

const metricsWayOut = "--metrics-token-file or --http-credentials-file, --metrics-open if everybody may read them"

var (
	servingPages   = serving{"Pages", "the pages", "these pages", "--http-addr", DefaultAddr, "--http-credentials-file"}
	servingMetrics = serving{"Metrics", "the metrics", "the metrics", "--metrics-addr", DefaultMetricsAddr, metricsWayOut}

	servingPublisher = serving{"Publisher", "the metrics", "the metrics", "--http-addr", DefaultPublisherAddr, metricsWayOut}
)

// DefaultMetricsAddr is the suggested address for metrics that are served on a port of their own.
const DefaultMetricsAddr = "127.0.0.1:9464"

// DefaultPublisherAddr is the default address of a process that publishes to a log.
const DefaultPublisherAddr = "127.0.0.1:8081"

func newHandler(cfg Config, serves serving) (*Handler, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Index == "" { // the files of secrets are not one database's among several
		cfg.logSecrets()
	}
	h := &Handler{cfg: cfg, serves: serves, probes: &probes{
		ready: cfg.Ready, timeout: readyTimeout, databases: cfg.Databases, warning: standbyWarning(cfg.Replica),
	}}
	h.life, h.stop = context.WithCancel(context.Background())
	return h, nil
}

// New checks the configuration and returns a handler. It does not connect.
func New(cfg Config) (*Handler, error) {
	h, err := newHandler(cfg, servingPages)
	if err != nil {
		return nil, err
	}
	cfg = h.cfg
	h.streams = make(chan struct{}, liveAtOnce)
	if cfg.Databases != nil {
		h.handler = h.guardedIndex()
		return h, nil
	}
	h.sources = newSources(cfg, h.probes)
	if h.riverClient, err = newRiverClient(cfg); err != nil {
		return nil, err
	}
	if h.river, err = h.riverUI(nil); err != nil {
		return nil, err
	}
	h.startRiver = sync.OnceValue(func() error { return h.river.Start(h.life) })
	h.handler = h.guarded(h.routes())
	return h, nil
}

// NewMetrics returns a handler for an address of its own: it serves Config.Metrics and the probes at the root, and no pages. The
// metrics require a user or a token as beside the pages, unless Config.MetricsOpen is set.
func NewMetrics(cfg Config) (*Handler, error) { return newMetrics(cfg, servingMetrics) }

// NewPublisher is NewMetrics for a process that publishes to a log.
func NewPublisher(cfg Config) (*Handler, error) { return newMetrics(cfg, servingPublisher) }

func newMetrics(cfg Config, serves serving) (*Handler, error) {
	if cfg.Metrics == nil {
		return nil, errors.New("webui: Config.Metrics is required")
	}
	cfg.BasePath, cfg.Events = "", nil
	h, err := newHandler(cfg, serves)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", cfg.Metrics)
	h.handler = h.guarded(mux)
	return h, nil
}

// Start starts River UI's counts of jobs, which otherwise the first request for River UI does. It is safe to call twice.
func (h *Handler) Start() error {
	if h.startRiver == nil {
		return nil
	}
	return h.startRiver()
}

// Stop ends all streams and what runs between requests, permanently. It is safe to call twice.
func (h *Handler) Stop() { h.stop() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.handler.ServeHTTP(w, r) }

// guarded serves the probes and the documents for programs without a guard, the events and the metrics behind guards of their own, and the rest of mux behind
// the guard of the pages.
func (h *Handler) guarded(mux *http.ServeMux) http.Handler {
	open, openPaths := http.NewServeMux(), h.openPaths()
	for path, handler := range openPaths {
		for _, at := range slices.Compact([]string{"", h.cfg.BasePath}) {
			open.HandleFunc("GET "+at+path, handler)
		}
	}
	paths := h.withSentences(mux)
	unguarded, events, metrics, others := h.withSentences(open), h.guardEvents(h.stream(h.cfg.Events)), h.guardMetrics(paths), h.guard(paths)
	return withHeadersAndLimits(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, isOpen := openPaths[h.pathOf(r)]
		switch {
		case isOpen:
			unguarded.ServeHTTP(w, r)
		case h.isEvents(r):
			events.ServeHTTP(w, r)
		case h.isMetrics(r):
			metrics.ServeHTTP(w, r)
		default:
			others.ServeHTTP(w, r)
		}
	}))
}

// routes are the paths behind the guard of the pages.
func (h *Handler) routes() *http.ServeMux {
	base := h.cfg.BasePath
	mux := http.NewServeMux()
	if base != "" {
		mux.HandleFunc("GET "+base, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+"/", http.StatusMovedPermanently)
		})
	}
	for path, handler := range map[string]http.HandlerFunc{
		"/{$}":                    h.now,
		"/assets/{name}":          h.asset,
		"/audit":                  h.shows(h.auditPage),
		"/consumers":              h.shows(h.consumersPage),
		"/consumers/{name}":       h.shows(h.consumerPage),
		"/dead-letters":           h.shows(h.lettersPage),
		"/events":                 h.shows(h.eventsPage),
		"/events/{key}":           h.event,
		"/favicon.ico":            h.favicon,
		"/health":                 h.healthPage,
		"/scaleouts":              h.shows(h.scaleoutsPage),
		"/settings":               h.shows(h.settingsPage),
		"/stream":                 h.shows(h.streamPage),
		"/templates":              h.shows(h.templatesPage),
		"/templates/{key}":        h.shows(h.templatePage),
		"/templates/{key}/unmark": h.asks(h.askUnmark),
		"/trace":                  h.trace,
		"/workers":                h.shows(h.workersPage),
	} {
		mux.HandleFunc("GET "+base+path, handler)
	}
	for path, change := range map[string]struct {
		ask  confirmation // nil: nothing asks for a confirmation at this path
		make formChange
	}{
		"/consumers/{name}/dead-letters/drop":   {h.askConsumerDrop, h.dropConsumerLetters},
		"/consumers/{name}/dead-letters/replay": {nil, h.replayConsumerLetters},
		"/consumers/{name}/delete":              {h.askDelete, h.deleteConsumer},
		"/consumers/{name}/reset":               {h.askReset, h.resetConsumer},
		"/dead-letters/drop":                    {h.askDrop, h.dropLetters},
		"/dead-letters/retry":                   {nil, h.retryLetters},
		"/events/change":                        {h.askEvents, h.changeEvents},
		"/gates/{gate}":                         {h.askGate, h.setGate},
		"/queues/{queue}":                       {h.askQueue, h.setQueue},
		"/rollback":                             {h.askRollback, h.rollback},
		"/rollback/cancel":                      {h.askCancelActor, h.cancelActor},
		"/scaleouts/cancel":                     {h.askCancelScaleout, h.cancelScaleout},
		"/scaleouts/pause":                      {nil, h.pauseScaleouts},
		"/templates/{key}/mark":                 {nil, h.markTemplate},
		"/test-event":                           {nil, h.sendTest},
	} {
		if change.ask != nil {
			mux.HandleFunc("GET "+base+path, h.asks(change.ask))
		}
		mux.HandleFunc("POST "+base+path, h.thatChanges(h.changes(change.make, change.ask)))
	}
	mux.HandleFunc("GET "+base+"/riverui/", h.riverPage)
	mux.HandleFunc("GET "+base+"/riverui/banner", h.riverBanner)
	mux.HandleFunc("GET "+base+"/riverui/api/", h.riverRead)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
		mux.HandleFunc(method+" "+base+"/riverui/api/", h.thatChanges(h.riverChange))
	}
	if h.cfg.Metrics != nil {
		mux.Handle("GET "+base+"/metrics", h.cfg.Metrics)
	}
	return mux
}

// thatChanges makes the pages read again after a change, so that the next page shows it.
func (h *Handler) thatChanges(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		next(w, r)
		h.sources.expire()
	}
}

// errSignedOut is the cause that ends a stream whose caller may no longer read it.
var errSignedOut = fmt.Errorf("%w: its caller is signed out", eventstream.ErrStopping)

// stillInterval is how often a stream checks whether its caller may still read it.
const stillInterval = 2 * time.Second

type stillKey struct{}

// letThrough returns the request of an account. Its streams end when again no longer returns the same account.
func letThrough(r *http.Request, by account, again func() (account, bool)) *http.Request {
	still := func() bool {
		now, ok := again()
		return ok && now == by
	}
	ctx := context.WithValue(context.WithValue(r.Context(), accountKey{}, by), stillKey{}, still)
	return r.WithContext(eventstream.WithUser(ctx, by.name))
}

// stream serves responses that do not end by themselves: without a write deadline, until Stop, and for as long as the caller may
// read them. Sessions expire and credentials change meanwhile.
func (h *Handler) stream(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // fails if there is none
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		unbind := context.AfterFunc(h.life, func() { cancel(eventstream.ErrStopping) })
		defer unbind()
		if still, guarded := ctx.Value(stillKey{}).(func() bool); guarded {
			go func() {
				for tick := time.Tick(stillInterval); still(); {
					select {
					case <-ctx.Done():
						return
					case <-tick:
					}
				}
				cancel(errSignedOut)
			}()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// at returns one of our paths with the base path.
func (h *Handler) at(path string) string { return h.cfg.BasePath + "/" + strings.TrimPrefix(path, "/") }
