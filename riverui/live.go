package webui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	liveInterval  = 2 * time.Second
	liveHeartbeat = 15 * time.Second
	liveAtOnce    = 100              // streams; a browser opens one a page
	liveBusy      = 10 * time.Second // before a page reconnects if there are too many
)

// live streams the sections of the overview that changed, as Server-Sent Events: {"id": ..., "html": ...}. The first
// time it sends all of them. The readings are shared; a stream costs its rendering.
func (h *Handler) live(w http.ResponseWriter, r *http.Request) {
	release, ok := h.takeStream(w)
	if !ok {
		return
	}
	defer release()
	streamHeaders(w.Header())
	stream := &liveStream{w: w, control: http.NewResponseController(w), sent: map[string]string{}}
	ticker := time.NewTicker(liveInterval)
	defer ticker.Stop()
	for {
		if err := stream.update(h.overview(r)); err != nil {
			return // the client is gone
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

type liveStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    map[string]string // section -> what was sent last
	at      time.Time         // when anything was
}

func (s *liveStream) update(o *overview) error {
	var wrote bool
	for _, id := range o.Sections {
		html, err := o.section(id)
		if err != nil {
			return err
		}
		if last, ok := s.sent[id]; ok && last == html {
			continue
		}
		s.sent[id] = html
		data, err := json.Marshal(map[string]string{"id": id, "html": html})
		if err != nil {
			return err
		}
		if err := s.write("data: %s\n\n", data); err != nil {
			return err
		}
		wrote = true
	}
	if !wrote && time.Since(s.at) >= liveHeartbeat {
		if err := s.write(": still here\n\n"); err != nil {
			return err
		}
		wrote = true
	}
	if !wrote {
		return nil
	}
	s.at = time.Now()
	return s.control.Flush()
}

// write gives a browser that does not read ten seconds: then it may come again.
func (s *liveStream) write(format string, args ...any) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(10 * time.Second)) // fails where there is no connection
	_, err := fmt.Fprintf(s.w, format, args...)
	return err
}
