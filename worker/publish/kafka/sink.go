package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/iu-core/iuworker/worker/publish"
)

// Sink is a topic. Its methods are called one at a time, but for Connected and Close.
type Sink struct {
	cfg      Config
	producer *kgo.Client // after Last
	settled  bool        // Last was called after the last error

	mu     sync.Mutex
	closed func()
	away   error // why the broker could not be reached last
}

var _ publish.Sink = (*Sink)(nil)

var errNotConnected = errors.New("not connected yet")

// New checks the configuration. It does not connect.
func New(cfg Config) (*Sink, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := cfg.options(); err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg, away: errNotConnected}, nil
}

func (s *Sink) cursorTopic() string { return s.cfg.Topic + ".cursor" }

func (s *Sink) transactionalID() string { return "iuworker." + s.cfg.Source + "." + s.cfg.Consumer }

// Peek implements publish.Sink.
func (s *Sink) Peek(ctx context.Context) (publish.End, error) {
	asking, cancel := context.WithTimeout(ctx, 2*s.cfg.AckTimeout)
	defer cancel()
	end, err := s.peek(asking)
	return end, s.noted(ctx, err)
}

func (s *Sink) peek(ctx context.Context) (publish.End, error) {
	if err := s.checkTopics(ctx); err != nil {
		return publish.End{}, err
	}
	options, err := s.cfg.options()
	if err != nil {
		return publish.End{}, err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return publish.End{}, fmt.Errorf("set up the client of Kafka: %w", err)
	}
	defer client.Close()
	return s.readCursor(ctx, client)
}

// Last implements publish.Sink. Before it reads, it shuts out the process that published with the consumer's name, and ends its transaction.
func (s *Sink) Last(ctx context.Context) (publish.End, error) {
	s.settled = false
	s.stop()
	asking, cancel := context.WithTimeout(ctx, 2*s.cfg.AckTimeout)
	defer cancel()
	end, err := s.last(asking)
	s.settled = err == nil
	return end, s.noted(ctx, err)
}

func (s *Sink) last(ctx context.Context) (publish.End, error) {
	if err := s.checkTopics(ctx); err != nil {
		return publish.End{}, err
	}
	options, err := s.cfg.options()
	if err != nil {
		return publish.End{}, err
	}
	client, err := kgo.NewClient(append(options,
		kgo.TransactionalID(s.transactionalID()), kgo.TransactionTimeout(max(time.Minute, 3*s.cfg.AckTimeout)),
		kgo.ProducerLinger(0), kgo.ManualFlushing(), kgo.MaxBufferedRecords(1<<20), kgo.RecordDeliveryTimeout(s.cfg.AckTimeout))...)
	if err != nil {
		return publish.End{}, fmt.Errorf("set up the client of Kafka: %w", err)
	}
	s.producer = client
	s.mu.Lock()
	s.closed = client.CloseAllowingRebalance
	s.mu.Unlock()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return publish.End{}, s.explain(fmt.Errorf("begin to publish as %s: %w", s.transactionalID(), err))
	}
	return s.readCursor(ctx, client)
}

// noted keeps whether the broker can be reached, for Connected.
func (s *Sink) noted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
	return err
}

// Connected returns why the broker could not be reached last; nil if it could.
func (s *Sink) Connected() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

// Reconnected implements publish.Sink: a transaction that was acknowledged is not lost with a connection.
func (s *Sink) Reconnected() bool { return false }

// stop closes the producer. A transaction that is open stays so until the next one ends it.
func (s *Sink) stop() {
	s.mu.Lock()
	closed := s.closed
	s.closed = nil
	s.mu.Unlock()
	if closed != nil {
		closed()
	}
}

// Close closes the connections. Safe to call twice.
func (s *Sink) Close() { s.stop() }
