package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/worker/publish"
)

// page is what one call of Publish has in flight.
type page struct {
	number  int
	lastSeq uint64 // of the stream before the page
	metrics *metrics.Publisher
	news    chan struct{} // a reply came in

	mu       sync.Mutex
	sent     []time.Time // zero: not sent, or acknowledged
	inFlight int
	failed   error
	failedAt int  // the first message that failed
	cut      bool // no more replies will come
}

// replyError is a reply of the server that is no acknowledgement.
type replyError struct {
	at   int
	code int
	text string
}

func (e *replyError) Error() string { return e.text }

func (s *Sink) begin(messages int) *page {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages++
	s.current = &page{
		number: s.pages, lastSeq: s.chain.lastSeq, metrics: s.cfg.Metrics, news: make(chan struct{}, 1), sent: make([]time.Time, messages),
	}
	return s.current
}

func (s *Sink) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
}

func (s *Sink) page() *page {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// fail ends the page in flight: its replies will not come.
func (s *Sink) fail(err error) {
	if p := s.page(); p != nil {
		p.mu.Lock()
		p.cut = true
		p.mu.Unlock()
		p.failAt(0, err)
	}
}

// reply is the subject for the reply to a message.
func (p *page) reply(inbox string, i int) string {
	return inbox + "." + strconv.Itoa(p.number) + "-" + strconv.Itoa(i)
}

// acknowledged takes a reply. Those of earlier pages are late, and count no more.
func (s *Sink) acknowledged(msg *nats.Msg) {
	p := s.page()
	number, index, found := strings.Cut(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:], "-")
	i, err := strconv.Atoi(index)
	if p == nil || !found || err != nil || number != strconv.Itoa(p.number) || i >= len(p.sent) {
		return
	}
	p.take(i, p.judge(i, msg))
}

// judge returns why a reply is no acknowledgement; nil if it is one.
func (p *page) judge(i int, msg *nats.Msg) error {
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		return &replyError{at: i, text: "no stream takes its subject at the moment"}
	}
	var reply struct {
		Sequence  uint64 `json:"seq"`
		Duplicate bool   `json:"duplicate"`
		Error     *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(msg.Data, &reply); {
	case err != nil:
		return &replyError{at: i, text: fmt.Sprintf("an unknown reply: %.60q", msg.Data)}
	case reply.Error != nil:
		return &replyError{i, reply.Error.Code, reply.Error.Description}
	case reply.Duplicate && reply.Sequence <= p.lastSeq:
		return &replyError{at: i, text: "the stream deleted it, and remembers its id until the duplicate window has passed"}
	case reply.Duplicate:
		p.metrics.Duplicate()
	}
	return nil
}

// take notes the reply to a message.
func (p *page) take(i int, err error) {
	p.mu.Lock()
	sent := p.sent[i]
	p.sent[i] = time.Time{}
	if !sent.IsZero() {
		p.inFlight--
	}
	p.mu.Unlock()
	if err != nil {
		p.failAt(i, err)
		return
	}
	if !sent.IsZero() {
		p.metrics.Acknowledged(1, time.Since(sent))
	}
	p.ring()
}

func (p *page) ring() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *page) sending(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[i] = time.Now()
	p.inFlight++
}

// failAt notes a failure. The first message that failed is the cause: those behind it follow nothing.
func (p *page) failAt(i int, err error) {
	p.mu.Lock()
	if p.failed == nil || i < p.failedAt {
		p.failed, p.failedAt = err, i
	}
	p.mu.Unlock()
	p.ring()
}

func (p *page) state() (inFlight int, failed error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return 0, p.failed
	}
	return p.inFlight, p.failed
}

// room waits until another message may be sent, and reports whether it may. Half of the window is sent at once.
func (p *page) room(ctx context.Context, window int, patience time.Duration) bool {
	inFlight, failed := p.state()
	if failed != nil || ctx.Err() != nil {
		return false
	}
	return inFlight < window || p.wait(ctx, window/2, patience)
}

// settled waits for the replies to all messages, and returns the first failure.
func (p *page) settled(ctx context.Context, patience time.Duration) error {
	p.wait(ctx, 0, patience)
	_, failed := p.state()
	return failed
}

// wait waits until at most so many messages are in flight. It reports false after a failure, which it notes if it is that no reply
// came for too long, or that ctx ended.
func (p *page) wait(ctx context.Context, most int, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		inFlight, failed := p.state()
		switch {
		case inFlight <= most:
			return failed == nil
		case failed != nil && most > 0:
			return false // settled waits for the rest
		}
		select {
		case <-p.news:
			timer.Reset(patience)
		case <-timer.C:
			p.failAt(len(p.sent), publish.Away(fmt.Errorf("no acknowledgement within %s", patience)))
			return false
		case <-ctx.Done():
			p.failAt(len(p.sent), context.Cause(ctx))
			return false
		}
	}
}
