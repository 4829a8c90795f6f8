package webui

import (
	"fmt"
	"net/http"
	"time"
)

const (
	liveInterval = 2 * time.Second
	liveMost     = 10 * time.Second // between two updates, however long they take
	liveAtOnce   = 100              // streams; a browser opens one a page
	liveBusy     = 10 * time.Second // before a page reconnects if there are too many
)

// liveStream is the stream of a view.
type liveStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// write gives a browser that does not read ten seconds: then it may reconnect.
func (s *liveStream) write(format string, args ...any) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(10 * time.Second)) // fails if there is no connection
	_, err := fmt.Fprintf(s.w, format, args...)
	return err
}
