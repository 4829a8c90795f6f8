package drill

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	streamSilence = 40 * time.Second // heartbeats come every 15 s
	streamRetry   = 500 * time.Millisecond
)

// StreamClient is a client of Server-Sent Events that behaves like a browser: it reconnects, and continues after the last ID that it
// received. If the history was rewound, it continues after the last event that both histories have.
type StreamClient struct {
	// URL is the address of the events. Required.
	URL string

	// Token is a bearer token. Default: none.
	Token string

	// After is the ID after which it begins. Default: the beginning.
	After string

	// Output receives each message as a line of JSON. Required.
	Output io.Writer

	// Logger logs why connections end. Default slog.Default().
	Logger *slog.Logger
}

// Run receives messages until ctx ends, which is no error, or Output fails.
func (c StreamClient) Run(ctx context.Context) error {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	last := c.After
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := c.once(ctx, client, &last)
		if failed, ok := errors.AsType[*outputError](err); ok {
			return failed
		}
		c.Logger.WarnContext(ctx, "Stream client: the connection ended", slog.Any("error", err), slog.String("cursor", last))
		if !retry.Pause(ctx, streamRetry) {
			return nil
		}
	}
}

// outputError means that a message was received but could not be printed.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

// once reads one connection to its end.
func (c StreamClient) once(ctx context.Context, client *http.Client, last *string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(streamSilence, func() { // a suspended worker closes nothing
		cancel(fmt.Errorf("nothing came for %s", streamSilence))
	})
	defer silence.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"?from=beginning", http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if *last != "" {
		request.Header.Set("Last-Event-ID", *last)
	}
	response, err := client.Do(request)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	lines := bufio.NewReaderSize(response.Body, 1<<16)
	output := json.NewEncoder(c.Output)
	var m streamMessage
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		silence.Reset(streamSilence)
		if !m.add(strings.TrimRight(line, "\r\n")) {
			continue
		}
		if err := output.Encode(m); err != nil {
			return &outputError{err}
		}
		if *last, err = m.cursor(*last); err != nil {
			return err
		}
		m = streamMessage{}
	}
}

// streamMessage is a message of an event stream, as StreamClient prints it.
type streamMessage struct {
	ID   string `json:"id,omitempty"`
	Kind string `json:"event,omitempty"`
	Data string `json:"data,omitempty"`
}

// add adds a line, and reports whether the message is complete.
func (m *streamMessage) add(line string) bool {
	if line == "" {
		return *m != streamMessage{}
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field {
	case "id":
		m.ID = value
	case "event":
		m.Kind = value
	case "data":
		m.Data += value
	}
	return false
}

// cursor returns the cursor of a client that was at before and has received the message.
func (m *streamMessage) cursor(before string) (string, error) {
	if m.Kind != "problem" {
		if m.ID == "" {
			return before, nil
		}
		return m.ID, nil
	}
	var problem struct {
		CommonUntil string `json:"common_until"`
	}
	if err := json.Unmarshal([]byte(m.Data), &problem); err != nil {
		return before, fmt.Errorf("the stream reports %q, which is no JSON: %w", m.Data, err)
	}
	if problem.CommonUntil == "" { // the new history has not begun yet
		return before, nil
	}
	return problem.CommonUntil, nil
}
