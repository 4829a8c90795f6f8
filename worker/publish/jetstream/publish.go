package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// Publish implements publish.Sink.
func (s *Sink) Publish(ctx context.Context, events []subscribe.Event) error {
	if !s.chain.known {
		return publish.Away(errors.New("the stream's end is not known"))
	}
	next := s.chain
	s.chain.known = false // until all are acknowledged
	p := s.begin(len(events))
	defer s.end()
	for i, event := range events {
		window := s.cfg.Window
		if i == 1 && !s.chain.byID {
			// The server may hold on to the id of a last message that is gone, and take what follows it: the first one goes alone.
			window = 1
		}
		if !p.room(ctx, window, s.cfg.AckTimeout) {
			break
		}
		message, err := s.message(event, &next, p.reply(s.inbox, i))
		p.sending(i)
		if err == nil {
			err = s.conn.PublishMsg(message)
		}
		if err != nil {
			p.take(i, sendError(event, err))
			break
		}
	}
	if err := p.settled(ctx, s.cfg.AckTimeout); err != nil {
		return s.explain(err, events)
	}
	next.known = true
	s.chain = next
	return nil
}

// message makes an event's message, and moves the chain to it.
func (s *Sink) message(event subscribe.Event, next *chain, reply string) (*nats.Msg, error) {
	encoded, err := publish.Encode(event, s.cfg.Content)
	if err != nil {
		return nil, err
	}
	header := make(nats.Header, len(encoded.Attributes)+5)
	header.Set("Content-Type", encoded.ContentType)
	for _, attribute := range encoded.Attributes {
		header.Set("ce-"+attribute.Name, publish.HeaderValue(attribute.Value))
	}
	cursor := event.Cursor.String()
	header.Set(headerCursor, cursor)
	header.Set("Nats-Expected-Stream", s.cfg.Stream)
	if next.byID {
		header.Set("Nats-Expected-Last-Msg-Id", next.id)
	} else {
		header.Set("Nats-Expected-Last-Sequence", strconv.FormatUint(next.lastSeq, 10))
	}
	switch {
	case !event.Replayed:
		next.place, next.placeID = event.Cursor, event.ID
	case next.placeID == "":
		header.Set(headerPlace, noPlace)
	default:
		header.Set(headerPlace, next.place.String()+" "+next.placeID)
	}
	next.byID, next.id = true, cursor
	return &nats.Msg{Subject: s.subjects.of(event), Reply: reply, Header: header, Data: encoded.Data}, nil
}

// Preview implements publish.Sink.
func (s *Sink) Preview(event subscribe.Event) (publish.Preview, error) {
	encoded, err := publish.Encode(event, s.cfg.Content)
	if err != nil {
		return publish.Preview{}, err
	}
	preview := publish.Preview{To: s.subjects.of(event), Data: string(encoded.Data), Headers: []publish.Attribute{
		{Name: headerCursor, Value: event.Cursor.String()}, {Name: "Content-Type", Value: encoded.ContentType},
	}}
	for _, attribute := range encoded.Attributes {
		preview.Headers = append(preview.Headers, publish.Attribute{Name: "ce-" + attribute.Name, Value: publish.HeaderValue(attribute.Value)})
	}
	return preview, nil
}

func sendError(event subscribe.Event, err error) error {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrBadSubject) {
		return &publish.RefusedError{Cursor: event.Cursor, Err: err}
	}
	if errors.Is(err, nats.ErrReconnectBufExceeded) { // there is none
		err = errNotConnected
	}
	return publish.Away(fmt.Errorf("send event %s: %w", event.Cursor, err))
}

// Error codes of JetStream.
const (
	codeTooLarge       = 10054
	codeHeaderTooLarge = 10097
	codeOtherStream    = 10060
	codeWrongLastID    = 10070
	codeWrongLastSeq   = 10071
)

// explain turns a reply into what the caller does about it.
func (s *Sink) explain(err error, events []subscribe.Event) error {
	var reply *replyError
	if !errors.As(err, &reply) {
		return err
	}
	event := events[reply.at]
	switch reply.code {
	case codeTooLarge, codeHeaderTooLarge:
		return &publish.RefusedError{Cursor: event.Cursor, Err: reply}
	case codeOtherStream:
		return fmt.Errorf("subject %s belongs to another stream than %s: change --subject or --stream", s.subjects.of(event), s.cfg.Stream)
	case codeWrongLastID, codeWrongLastSeq:
		return &publish.AwayError{Err: fmt.Errorf("event %s does not follow the last message: %w", event.Cursor, reply), Replied: true}
	}
	return &publish.AwayError{Err: fmt.Errorf("event %s: %w", event.Cursor, reply), Replied: true}
}
