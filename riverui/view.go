package webui

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/iu-core/iuworker/riverui/eventstream"
	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

// A view is a page that is made of sections. The frame is sent at once; the sections follow in the page's order as soon as each
// is read. All sections are read at the same time. Requested as an event stream, the same address sends the sections whose HTML
// changed, so that every view stays current in an open browser.
//
// A page makes a view, adds its sections, and returns it; shows serves it:
//
//	v := h.view(r, "Consumers", "consumers")
//	add(v, "list", "All consumers", h.sources.consumers.get)
//	return v, nil
//
// The file templates/consumers.html lays the page out: {{template "head" .}}, {{.Section "list"}}, {{template "foot" .}}. The
// template "consumers-list" is the section's content and gets a sectionData. If there is no value, "unread" is shown in its place.
type view struct {
	page

	template string
	sections []*section
	patience time.Duration

	// fixed is the status to send. 0: 200, or that of a section that failed before the frame was sent.
	fixed int

	out     *bufio.Writer
	control *http.ResponseController
}

// section is a part of a view that is read and sent on its own.
type section struct {
	id, heading string
	load        func(context.Context) reading[any]
	ready       chan struct{} // closed when got is set
	got         reading[any]
}

// reading is a value, or the last value if reading it has failed since.
type reading[T any] struct {
	Value T
	At    time.Time // when Value was read; zero: never
	Err   error     // why Value is missing or old
	Since time.Time // since when reading it fails; only cached readings know
}

// fresh returns a reading as of now.
func fresh[T any](value T, err error) reading[T] {
	if err != nil {
		return reading[T]{Err: err}
	}
	return reading[T]{Value: value, At: time.Now()}
}

// sectionData is what a section's template gets.
type sectionData struct {
	*page

	ID, Heading string
	Value       any
	At          time.Time // when Value was read
	Stale       bool      // Value is the last that could be read
	Error       string    // why there is no Value, or why it is stale
}

// firstPaint is how long the frame waits for the sections, which decide the status.
var firstPaint = 150 * time.Millisecond

func (h *Handler) view(r *http.Request, title, name string) *view {
	v := &view{page: h.page(r, title), template: name, patience: firstPaint}
	v.Live, v.Done = r.URL.RequestURI(), h.done(r)
	h.catchUp(r)
	return v
}

// add adds a section. heading is shown above it; "" shows none. load runs again while the page is open.
func add[T any](v *view, id, heading string, load func(context.Context) reading[T]) {
	v.sections = append(v.sections, &section{id: id, heading: heading, load: func(ctx context.Context) reading[any] {
		return derived(load(ctx), func(value T) any { return value })
	}})
}

// read starts to read all sections.
func (v *view) read(ctx context.Context) {
	for _, s := range v.sections {
		s.ready = make(chan struct{})
		go func() {
			defer close(s.ready)
			s.got = s.load(ctx)
		}()
	}
}

// shows serves the view of a request, or its error.
func (h *Handler) shows(viewOf func(*http.Request) (*view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := viewOf(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		h.serve(w, r, v)
	}
}

// serve sends a view, or follows one that was sent before.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, v *view) {
	if eventstream.Wanted(r) {
		h.stream(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.follow(w, r, v) })).ServeHTTP(w, r)
		return
	}
	v.read(r.Context())
	status := v.status()
	v.out, v.control = bufio.NewWriterSize(w, 16<<10), http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := htmlTemplates.ExecuteTemplate(v.out, v.template+".html", v); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot write a page", slog.String("page", v.template), slog.String("error", err.Error()))
	}
	_ = v.out.Flush() // if this fails, the client has disconnected
}

// status waits a moment for the sections, and returns the status that says whether the page can be shown.
func (v *view) status() int {
	switch {
	case v.fixed != 0:
		return v.fixed
	case v.Lost != nil && !v.Lost.Readable:
		return http.StatusServiceUnavailable
	}
	timeout := time.After(v.patience)
	for _, s := range v.sections {
		select {
		case <-s.ready:
			if s.got.Err != nil && s.got.At.IsZero() {
				status, _ := dberror.Explain(s.got.Err)
				return status
			}
		case <-timeout:
			return http.StatusOK
		}
	}
	return http.StatusOK
}

// Section returns a section for the page's template. It sends what is already written before it waits.
func (v *view) Section(id string) (template.HTML, error) {
	i := slices.IndexFunc(v.sections, func(s *section) bool { return s.id == id })
	if i < 0 {
		return "", fmt.Errorf("there is no section %s", id)
	}
	s := v.sections[i]
	select {
	case <-s.ready:
	default:
		_ = v.out.Flush()     // if this fails, the client has disconnected
		_ = v.control.Flush() // fails only if nothing can be flushed, as in a test
		<-s.ready
	}
	html, err := v.html(s)
	if err != nil {
		return "", err
	}
	element, label, class := "div", "", "part"
	if s.heading != "" {
		element, label, class = "section", ` aria-labelledby="h-`+s.id+`"`, "card"
	}
	if s.got.Err != nil {
		class += " stale"
	}
	//nolint:gosec // ids are constants of ours, and the content is a template's
	return template.HTML(`<` + element + ` id="` + s.id + `" class="` + class + `"` + label + `>` + html + `</` + element + `>`), nil
}

// html returns the content of a section that was read.
func (v *view) html(s *section) (string, error) {
	data := sectionData{
		page: &v.page, ID: s.id, Heading: s.heading, Value: s.got.Value, At: s.got.At, Stale: s.got.Err != nil,
	}
	names := []string{"heading", v.template + "-" + s.id}
	if s.heading == "" {
		names = names[1:]
	}
	if s.got.Err != nil {
		_, data.Error = dberror.Explain(s.got.Err)
		if s.got.At.IsZero() {
			names[len(names)-1] = "unread"
		}
	}
	var b bytes.Buffer
	for _, name := range names {
		if err := htmlTemplates.ExecuteTemplate(&b, name, data); err != nil {
			return "", fmt.Errorf("write %s of section %s: %w", name, s.id, err)
		}
	}
	return b.String(), nil
}

// update is a message of a view's stream. Without HTML the browser keeps what it shows, greyed.
type update struct {
	ID    string `json:"id"`
	HTML  string `json:"html,omitempty"`
	Stale bool   `json:"stale,omitempty"`
}

// updates reads all sections, and returns messages of what changed since the last call with the same sent: parts of the frame,
// then sections.
func (v *view) updates(ctx context.Context, sent map[string]update) (messages []byte, err error) {
	note := func(u update) {
		if sent[u.ID] != u {
			sent[u.ID] = u
			text, _ := json.Marshal(u) // texts and flags do not fail
			messages = fmt.Appendf(messages, "data: %s\n\n", text)
		}
	}
	v.read(ctx)
	for _, id := range []string{"frame-banner", "frame-nav"} {
		var b strings.Builder
		if err := htmlTemplates.ExecuteTemplate(&b, id, &v.page); err != nil {
			return nil, fmt.Errorf("write %s: %w", id, err)
		}
		note(update{ID: id, HTML: cmp.Or(b.String(), "\n")}) // an update without HTML would keep what is shown
	}
	for _, s := range v.sections {
		<-s.ready
		u := update{ID: s.id, Stale: s.got.Err != nil}
		if !u.Stale || !s.got.At.IsZero() || sent[s.id].HTML == "" {
			if u.HTML, err = v.html(s); err != nil {
				return nil, err
			}
		}
		note(u)
	}
	return messages, nil
}

const (
	liveInterval = 2 * time.Second
	liveMost     = 10 * time.Second // between two updates, however long they take
	liveWrite    = 10 * time.Second // for a browser to read an update; then it may reconnect
	liveAtOnce   = 100              // streams; a browser opens one per page
	liveBusy     = 10 * time.Second // before a page reconnects if there are too many
)

// follow keeps an open page up to date. If its readings are not shared, it uses at most a twentieth of a connection's time, or one
// statement per liveMost.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, v *view) {
	eventstream.SetHeaders(w.Header())
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default: // any status but 200 would be the last that the page asks for
		_, _ = fmt.Fprintf(w, "retry: %d\n: %d pages are already kept up to date\n\n", liveBusy.Milliseconds(), liveAtOnce)
		return
	}
	control := http.NewResponseController(w)
	sent := map[string]update{}
	for {
		began := time.Now()
		v.page = h.page(r, v.Title)
		messages, err := v.updates(r.Context(), sent)
		if err != nil {
			h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot update a page", slog.String("page", v.template), slog.String("error", err.Error()))
			return
		}
		at := time.Now().UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
		messages = fmt.Appendf(messages, "event: tick\ndata: {\"at\":%q}\n\n", at)
		_ = control.SetWriteDeadline(time.Now().Add(liveWrite)) // fails if there is no connection
		if _, err := w.Write(messages); err != nil || control.Flush() != nil {
			return // the client has disconnected
		}
		select {
		case <-time.After(min(max(liveInterval, 20*time.Since(began)), liveMost)):
		case <-r.Context().Done():
			return
		}
	}
}
