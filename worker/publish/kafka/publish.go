package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// Publish implements publish.Sink: one transaction.
func (s *Sink) Publish(ctx context.Context, events []subscribe.Event) error {
	if !s.settled {
		return publish.Away(errors.New("the end of the topic is not known"))
	}
	s.settled = false // until the transaction is committed
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, 2*s.cfg.AckTimeout)
	defer cancel()
	if err := s.transaction(bounded, events); err != nil {
		return s.noted(ctx, err)
	}
	s.settled = true
	s.cfg.Metrics.Acknowledged(len(events), time.Since(began))
	return s.noted(ctx, nil)
}

func (s *Sink) transaction(ctx context.Context, events []subscribe.Event) error {
	if err := s.producer.BeginTransaction(); err != nil {
		return s.explain(fmt.Errorf("begin a transaction: %w", err))
	}
	err := s.send(ctx, events)
	if err != nil {
		s.abort(ctx)
		return err
	}
	if err := s.producer.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return s.explain(fmt.Errorf("commit a transaction: %w", err))
	}
	return nil
}

// abort ends a transaction that failed. If it cannot, Last does.
func (s *Sink) abort(ctx context.Context) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.AckTimeout)
	defer cancel()
	_ = s.producer.AbortBufferedRecords(ending)         // Last makes a new producer
	_ = s.producer.EndTransaction(ending, kgo.TryAbort) // and ends the transaction of this one
}

// send produces the events and their cursor, and waits until the brokers have them.
func (s *Sink) send(ctx context.Context, events []subscribe.Event) error {
	f := failures{at: len(events) + 1}
	for i, event := range events {
		record, err := s.record(event)
		if err != nil {
			return err
		}
		s.producer.Produce(ctx, record, func(_ *kgo.Record, err error) { f.note(i, err) })
	}
	if last := events[len(events)-1]; !last.Replayed {
		s.producer.Produce(ctx, s.cursorRecord(last), func(_ *kgo.Record, err error) { f.note(len(events), err) })
	}
	if err := s.producer.Flush(ctx); err != nil {
		f.note(len(events), err)
	}
	at, err := f.first()
	switch {
	case err == nil:
		return nil
	case at < len(events) && (errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) || errors.Is(err, kerr.InvalidRecord)):
		return &publish.RefusedError{Cursor: events[at].Cursor, Err: err}
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return publish.Away(fmt.Errorf("topic %s or %s is missing: %w", s.cfg.Topic, s.cursorTopic(), err))
	}
	return s.explain(fmt.Errorf("send to topic %s: %w", s.cfg.Topic, err))
}

// failures keeps the most telling failure of a page: an event that is refused fails those that are sent with it.
type failures struct {
	mu  sync.Mutex
	at  int
	err error
}

func (f *failures) note(i int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && i < f.at {
		f.at, f.err = i, err
	}
}

func (f *failures) first() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, f.err
}

func (s *Sink) record(event subscribe.Event) (*kgo.Record, error) {
	encoded, err := publish.Encode(event, s.cfg.Content)
	if err != nil {
		return nil, err
	}
	record := &kgo.Record{
		Topic: s.cfg.Topic, Key: s.key(event), Value: encoded.Data, Headers: make([]kgo.RecordHeader, 0, len(encoded.Attributes)+1),
	}
	record.Headers = append(record.Headers, kgo.RecordHeader{Key: "content-type", Value: []byte(encoded.ContentType)})
	for _, attribute := range encoded.Attributes {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: "ce_" + attribute.Name, Value: []byte(attribute.Value)})
	}
	return record, nil
}

func (s *Sink) cursorRecord(event subscribe.Event) *kgo.Record {
	return &kgo.Record{
		Topic: s.cursorTopic(), Key: []byte(s.cfg.Consumer), Value: []byte(event.Cursor.String()),
		Headers: []kgo.RecordHeader{{Key: headerID, Value: []byte(event.ID)}, {Key: headerSource, Value: []byte(event.Source)}},
	}
}

func (s *Sink) key(event subscribe.Event) []byte {
	switch s.cfg.Key {
	case KeyEvent:
		return []byte(event.Data.EventID.String())
	case KeyTemplate:
		return []byte(event.Data.TemplateKey)
	case KeyActor:
		return []byte(event.Data.Actor)
	case KeyNone:
		return nil
	default:
		return []byte(event.Subject)
	}
}

// Preview implements publish.Sink.
func (s *Sink) Preview(event subscribe.Event) (publish.Preview, error) {
	record, err := s.record(event)
	if err != nil {
		return publish.Preview{}, err
	}
	preview := publish.Preview{To: record.Topic, Data: string(record.Value), Headers: []publish.Attribute{{Name: "key", Value: string(record.Key)}}}
	for _, header := range record.Headers {
		preview.Headers = append(preview.Headers, publish.Attribute{Name: header.Key, Value: string(header.Value)})
	}
	return preview, nil
}
