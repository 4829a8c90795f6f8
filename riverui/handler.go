package webui

import (
	"context"
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
	cfg         Config
	handler     http.Handler
	river       *riverui.Handler
	riverClient *river.Client[pgx.Tx]
	probes      *probes
	sources     *sources
	outage      *outage
	streams     chan struct{}
	serves      serving

	sessions *sessions // of browsers that follow the events

	mu   sync.Mutex
	life context.Context // of what runs between requests, and of streams; nil: not started
	stop context.CancelFunc
}

// New checks the configuration and returns a handler. It does not connect.
func New(cfg Config) (*Handler, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Credentials != nil {
		cfg.Credentials.logger.Store(cfg.Logger)
	}
	if cfg.EventsTokens != nil {
		cfg.EventsTokens.logger.Store(cfg.Logger)
	}
	probes := &probes{ready: cfg.Ready}
	h := &Handler{
		cfg: cfg, probes: probes, sources: newSources(cfg, probes), outage: &outage{pool: cfg.Pool},
		streams: make(chan struct{}, liveAtOnce), serves: servingPages, sessions: newSessions(),
	}
	if h.riverClient, err = newRiverClient(cfg); err != nil {
		return nil, err
	}
	if h.river, err = h.riverUI(nil); err != nil {
		return nil, err
	}
	h.handler = withHeaders(withLimits(h.withEvents(h.behindProbes(h.guardedRoutes()))))
	return h, nil
}

// Start starts what runs between requests, which is River UI's counts of jobs, until Stop. It does not listen. The end of ctx
// has no effect. It is safe to call twice.
func (h *Handler) Start(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stop != nil {
		return nil
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	if h.river != nil {
		if err := h.river.Start(ctx); err != nil {
			stop()
			return err
		}
	}
	h.life, h.stop = ctx, stop
	return nil
}

// Stop ends all streams and what Start started. It is safe to call twice, and before Start.
func (h *Handler) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.handler.ServeHTTP(w, r) }

// behindProbes serves the probes without a guard and everything else behind the guard.
func (h *Handler) behindProbes(routes *http.ServeMux) http.Handler {
	base := h.cfg.BasePath
	open := http.NewServeMux()
	for _, at := range slices.Compact([]string{"", base}) {
		open.HandleFunc("GET "+at+"/healthz", h.probes.alive)
		open.HandleFunc("GET "+at+"/readyz", h.probes.serveReady)
	}
	guarded := h.guard(h.withSentences(routes))
	known := h.withSentences(open)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(strings.TrimPrefix(r.URL.Path, base)) {
			known.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" }

func (h *Handler) guardedRoutes() *http.ServeMux {
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
		"/stream":                 h.streamPage,
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
		h.mu.Lock()
		life := h.life
		h.mu.Unlock()
		if life != nil {
			stop := context.AfterFunc(life, func() { cancel(eventstream.ErrStopping) })
			defer stop()
		}
		if still, guarded := ctx.Value(stillKey{}).(func() bool); guarded {
			go func() {
				for tick := time.Tick(stillInterval); ; {
					select {
					case <-ctx.Done():
						return
					case <-tick:
						if !still() {
							cancel(errSignedOut)
						}
					}
				}
			}()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// at returns one of our paths with the base path.
func (h *Handler) at(path string) string { return h.cfg.BasePath + "/" + strings.TrimPrefix(path, "/") }
