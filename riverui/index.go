package webui

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

// Database is one of the databases that a process works on. Its pages are those of Handler, whose base path ends with
// DatabasePath.
type Database struct {
	Name    string
	Handler *Handler // nil while there are no pages, because the address cannot be used or the worker has failed
	Reason  string   // why there is no Handler
}

// databasesPath is where the pages of databases are, below the base path.
const databasesPath = "/d/"

// DatabasePath returns the path of a database's pages below the base path of all.
func DatabasePath(name string) string { return databasesPath + name }

// guardedIndex serves the index of the databases and the metrics behind the guard of the pages, and each database by its own
// handler, which has a guard of its own.
func (h *Handler) guardedIndex() http.Handler {
	base := h.cfg.BasePath
	mux := http.NewServeMux()
	if base != "" {
		mux.HandleFunc("GET "+base, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+"/", http.StatusMovedPermanently)
		})
	}
	mux.HandleFunc("GET "+base+"/{$}", h.shows(h.indexPage))
	mux.HandleFunc("GET "+base+"/assets/{name}", h.asset)
	mux.HandleFunc("GET "+base+"/favicon.ico", h.favicon)
	mux.HandleFunc(base+databasesPath, h.noDatabase)
	if h.cfg.Metrics != nil {
		mux.Handle("GET "+base+"/metrics", h.cfg.Metrics)
	}
	others := h.guarded(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, found := h.databaseAt(r)
		switch {
		case found && d.Handler != nil:
			d.Handler.ServeHTTP(w, r)
		case found && h.pathOf(r) == DatabasePath(d.Name)+"/readyz":
			(&probes{ready: d.ready, timeout: readyTimeout}).serveReady(w, r)
		case found && h.pathOf(r) == DatabasePath(d.Name)+"/healthz":
			h.probes.alive(w, r)
		default:
			others.ServeHTTP(w, r)
		}
	})
}

// databaseAt returns the database whose pages a request is for.
func (h *Handler) databaseAt(r *http.Request) (Database, bool) {
	rest, below := strings.CutPrefix(h.pathOf(r), databasesPath)
	if !below {
		return Database{}, false
	}
	name, _, _ := strings.Cut(rest, "/")
	for _, d := range h.cfg.Databases() {
		if d.Name == name {
			return d, true
		}
	}
	return Database{}, false
}

// noDatabase says why there are no pages at a path below /d/.
func (h *Handler) noDatabase(w http.ResponseWriter, r *http.Request) {
	if d, found := h.databaseAt(r); found {
		h.say(w, r, http.StatusServiceUnavailable, "the worker of the database %s does not run: %s", d.Name, d.Reason)
		return
	}
	h.say(w, r, http.StatusNotFound, "there is no database at %s; the first page lists those that there are", printable(r.URL.Path))
}

// ready returns why a database cannot be worked on.
func (d Database) ready(ctx context.Context) error {
	if d.Handler == nil {
		return errDoesNotRun
	}
	return d.Handler.probes.check(ctx)
}

// databaseRow is a line of the index.
type databaseRow struct {
	Name, Path, Database string
	Ready                bool
	Reason               string // why it is not ready; "" while that is not known
	State                reading[status.Status]
	DeadLetters          operate.Count
}

// rowPatience is how long the index waits for a database. Until it replies, the row shows the last that is known.
var rowPatience = 500 * time.Millisecond

// indexPage lists the databases.
func (h *Handler) indexPage(r *http.Request) (*view, error) {
	v := &view{page: h.page(r, "Databases"), template: "index", patience: 2 * rowPatience}
	v.Live = r.URL.RequestURI()
	add(v, "databases", "", func(ctx context.Context) reading[[]databaseRow] {
		databases := h.cfg.Databases()
		rows := make([]databaseRow, len(databases))
		var looking sync.WaitGroup
		for i, d := range databases {
			looking.Go(func() { rows[i] = d.row(ctx) })
		}
		looking.Wait()
		return fresh(rows, nil)
	})
	return v, nil
}

// row reads the state of a database.
func (d Database) row(ctx context.Context) databaseRow {
	row := databaseRow{Name: d.Name, Path: DatabasePath(d.Name) + "/", Reason: d.Reason}
	if d.Handler == nil {
		return row
	}
	s := d.Handler.sources
	row.Database = databaseOf(d.Handler.cfg.Pool)
	ready := s.ready.soon(ctx, rowPatience)
	row.Ready, row.Reason = ready.Value == "" && !ready.At.IsZero(), ready.Value
	if row.Ready {
		row.State = s.state.soon(ctx, rowPatience)
	} else {
		row.State = s.state.peek()
	}
	row.DeadLetters = letters(row.State.Value)
	return row
}

// page returns what all pages of the index share: it has no navigation, and no database of its own.
func (h *Handler) pageOfIndex(r *http.Request, title string) page {
	by := who(r.Context())
	p := page{
		Base: h.cfg.BasePath, Title: title, Version: h.cfg.Version, Operator: by.role == RoleOperator,
		Metrics: h.cfg.Metrics != nil, Environment: h.cfg.Environment,
	}
	if h.cfg.Credentials != nil {
		p.User = by.name
	}
	return p
}
