package webui

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/iu-core/iuworker/riverui/eventstream"
	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

// A view is a page that is made of sections. The frame is sent at once; then each section follows in the page's order, as
// soon as it is read. All sections are read at the same time. Requested as an event stream, the same address sends the
// sections whose HTML changed, so that every view stays current in an open browser.
//
// A page handler makes a view, adds its sections, and serves it:
//
//	v := h.view(r, "Consumers", "consumers")
//	add(v, "list", "All consumers", func(ctx context.Context) reading[[]subscribe.Consumer] {
//		return h.sources.consumers.get(ctx)
//	})
//	h.serve(w, r, v)
//
// The file templates/consumers.html lays the page out: {{template "head" .}}, {{.Section "list"}}, {{template "foot" .}}. The
// template "consumers-list" is the section's content and gets a sectionData. It is not called while there is nothing to show:
// then the section says why.
type view struct {
	page

	template string
	order    []string
	sections map[string]*section
	patience time.Duration

	// Fixed is the status to send. 0: 200, or that of a section that failed before the frame was sent.
	Fixed int

	out     *bufio.Writer
	control *http.ResponseController
}

// section is a part of a view that is read and sent by itself.
type section struct {
	id, heading string
	load        func(context.Context) reading[any]
	ready       chan struct{} // closed when got is set
	got         reading[any]
}

// reading is what was read, or what was read last if that failed since.
type reading[T any] struct {
	Value T
	At    time.Time // when Value was read; zero: never
	Err   error     // why Value is missing or old
}

// fresh is a reading of now.
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

// firstPaint is how long the frame may wait for the sections, which decide the status.
var firstPaint = 150 * time.Millisecond

func (h *Handler) view(r *http.Request, title, name string) *view {
	v := &view{page: h.page(r, title), template: name, sections: map[string]*section{}, patience: firstPaint}
	v.Live = r.URL.RequestURI()
	return v
}

// add adds a section. heading is shown above it; "" shows none. load may run again, while the page is open.
func add[T any](v *view, id, heading string, load func(context.Context) reading[T]) {
	v.order = append(v.order, id)
	v.sections[id] = &section{id: id, heading: heading, load: func(ctx context.Context) reading[any] {
		got := load(ctx)
		return reading[any]{Value: got.Value, At: got.At, Err: got.Err}
	}}
}

// read starts to read all sections.
func (v *view) read(ctx context.Context) {
	for _, id := range v.order {
		s := v.sections[id]
		s.ready = make(chan struct{})
		go func() {
			defer close(s.ready)
			s.got = s.load(ctx)
		}()
	}
}

// serve sends a view, or keeps one up to date that was sent before.
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
	if err := templates.ExecuteTemplate(v.out, v.template+".html", v); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "Pages: cannot write a page", slog.String("page", v.template), slog.String("error", err.Error()))
	}
	_ = v.out.Flush() // if this fails, the client has disconnected
}

// status waits a moment for the sections, and returns the status that says whether the page can be shown.
func (v *view) status() int {
	switch {
	case v.Fixed != 0:
		return v.Fixed
	case v.Lost != nil:
		return http.StatusServiceUnavailable
	}
	timer := time.NewTimer(v.patience)
	defer timer.Stop()
	for _, id := range v.order {
		s := v.sections[id]
		select {
		case <-s.ready:
			if s.got.Err != nil && s.got.At.IsZero() {
				status, _ := dberror.Explain(s.got.Err)
				return status
			}
		case <-timer.C:
			return http.StatusOK
		}
	}
	return http.StatusOK
}

// Section returns a section for the page's template. What is written already is sent before it waits.
func (v *view) Section(id string) (template.HTML, error) {
	s, ok := v.sections[id]
	if !ok {
		return "", fmt.Errorf("there is no section %s", id)
	}
	select {
	case <-s.ready:
	default:
		if v.out != nil {
			_ = v.out.Flush()     // if this fails, the client has disconnected
			_ = v.control.Flush() // fails only if nothing can be flushed, as in a test
		}
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
	name := v.template + "-" + s.id
	if s.got.Err != nil {
		_, data.Error = dberror.Explain(s.got.Err)
		if s.got.At.IsZero() {
			name = "unread"
		}
	}
	var b bytes.Buffer
	if s.heading != "" {
		if err := templates.ExecuteTemplate(&b, "heading", data); err != nil {
			return "", fmt.Errorf("write the heading of section %s: %w", s.id, err)
		}
	}
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("write section %s: %w", s.id, err)
	}
	return b.String(), nil
}

// update is what the stream of a view says of a section. Without HTML the browser keeps what it shows, greyed.
type update struct {
	ID    string `json:"id"`
	HTML  string `json:"html,omitempty"`
	Stale bool   `json:"stale,omitempty"`
}

// updates reads all sections, and returns those that changed since the last call with the same sent.
func (v *view) updates(ctx context.Context, sent map[string]update) ([]update, error) {
	v.read(ctx)
	var changed []update
	for _, id := range v.order {
		s := v.sections[id]
		<-s.ready
		now := update{ID: id, Stale: s.got.Err != nil}
		if last, shown := sent[id]; !now.Stale || !s.got.At.IsZero() || !shown || last.HTML == "" {
			html, err := v.html(s)
			if err != nil {
				return nil, err
			}
			now.HTML = html
		}
		if last, ok := sent[id]; ok && last == now {
			continue
		}
		sent[id] = now
		changed = append(changed, now)
	}
	return changed, nil
}

// follow keeps an open page up to date. A page whose readings are not shared
// costs the database at most a twentieth of a connection's time, or a statement each liveMost.
func (h *Handler) follow(w http.ResponseWriter, r *http.Request, v *view) {
	release, ok := h.takeStream(w)
	if !ok {
		return
	}
	defer release()
	eventstream.SetHeaders(w.Header())
	stream := &liveStream{w: w, control: http.NewResponseController(w)}
	sent := map[string]update{}
	for {
		began := time.Now()
		v.page = h.page(r, v.Title)
		changed, err := v.updates(r.Context(), sent)
		if err == nil {
			err = stream.sendFrame(&v.page, sent)
		}
		for _, u := range changed {
			if err == nil {
				err = stream.send("", u)
			}
		}
		if err == nil {
			err = stream.send("tick", map[string]time.Time{"at": time.Now().UTC().Truncate(time.Millisecond)})
		}
		if err != nil || stream.control.Flush() != nil {
			return // the client is gone
		}
		select {
		case <-time.After(min(max(liveInterval, 20*time.Since(began)), liveMost)):
		case <-r.Context().Done():
			return
		}
	}
}

// frame are the parts of every page that change while it is open.
var frame = []string{"frame-banner", "frame-nav"}

func (s *liveStream) sendFrame(p *page, sent map[string]update) error {
	for _, id := range frame {
		var b bytes.Buffer
		if err := templates.ExecuteTemplate(&b, id, p); err != nil {
			return fmt.Errorf("write %s: %w", id, err)
		}
		if b.Len() == 0 {
			b.WriteByte('\n') // an update without HTML would keep what is shown
		}
		now := update{ID: id, HTML: b.String()}
		if sent[id] == now {
			continue
		}
		sent[id] = now
		if err := s.send("", now); err != nil {
			return err
		}
	}
	return nil
}

func (s *liveStream) send(event string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write an update: %w", err)
	}
	if event != "" {
		if err := s.write("event: %s\n", event); err != nil {
			return err
		}
	}
	return s.write("data: %s\n\n", data)
}

// takeStream takes one of the streams that pages may hold; false if there is none, which the client is told.
func (h *Handler) takeStream(w http.ResponseWriter) (release func(), ok bool) {
	select {
	case h.streams <- struct{}{}:
		return func() { <-h.streams }, true
	default: // any status but 200 would be the last that the page asks for
		eventstream.SetHeaders(w.Header())
		_, _ = fmt.Fprintf(w, "retry: %d\n: %d pages are already kept up to date\n\n", liveBusy.Milliseconds(), liveAtOnce)
		return nil, false
	}
}
