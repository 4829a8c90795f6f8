package drill

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	streamSilence = 40 * time.Second // heartbeats come every 15 s
	streamRetry   = 500 * time.Millisecond
)

// follow is a client of Server-Sent Events, as a browser is one: it reconnects after the last id that it received, to the next
// of the workers. A history that was rewound makes it continue at the last event in common. It returns when ctx ends.
func (s *subscriber) follow(ctx context.Context, workers []string) {
	last := ""
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	for i := s.index; ; i++ {
		s.followOnce(ctx, client, workers[i%len(workers)], &last)
		if !retry.Pause(ctx, streamRetry) {
			return
		}
	}
}

// followOnce reads one connection to its end.
func (s *subscriber) followOnce(ctx context.Context, client *http.Client, worker string, last *string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(streamSilence, cancel) // a worker that is stopped closes nothing
	defer silence.Stop()
	address := url.URL{Scheme: "http", Host: worker, Path: "/v1/events", RawQuery: "from=beginning"}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		s.problem(err.Error())
		return
	}
	request.Header.Set("Accept", "text/event-stream")
	if *last != "" {
		request.Header.Set("Last-Event-ID", *last)
	}
	response, err := client.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return
	}
	lines := bufio.NewReaderSize(response.Body, 1<<16)
	var message sseMessage
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		silence.Reset(streamSilence)
		if !message.add(strings.TrimRight(line, "\r\n")) {
			continue
		}
		s.message(message, last)
		message = sseMessage{}
	}
}

// sseMessage is a message of an event stream.
type sseMessage struct{ id, kind, data string }

// add adds a line, and reports whether the message is complete.
func (m *sseMessage) add(line string) bool {
	if line == "" {
		return m.id != "" || m.kind != "" || m.data != ""
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "id":
		m.id = value
	case "event":
		m.kind = value
	case "data":
		m.data += value
	}
	return false
}

func (s *subscriber) message(m sseMessage, last *string) {
	switch m.kind {
	case "":
		if m.data != "" {
			s.take([]byte(m.data), 0)
		}
	case "problem":
		var problem struct {
			CommonUntil string `json:"common_until"`
		}
		if err := json.Unmarshal([]byte(m.data), &problem); err != nil {
			s.problem("the stream reports: " + m.data)
		} else if problem.CommonUntil != "" { // else the new history has not begun yet
			*last = problem.CommonUntil
		}
		return
	}
	if m.id != "" {
		*last = m.id
	}
}
