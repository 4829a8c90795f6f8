package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	headerCursor = "Nats-Msg-Id"
	headerPlace  = "Iuworker-Place"
	headerID     = "ce-id"
	headerSource = "ce-source"

	noPlace = "none"
)

// Peek implements publish.Sink.
func (s *Sink) Peek(ctx context.Context) (publish.End, error) { return s.Last(ctx) }

// Last implements publish.Sink.
func (s *Sink) Last(ctx context.Context) (publish.End, error) {
	s.chain = chain{}
	if err := s.connect(ctx); err != nil {
		return publish.End{}, err
	}
	s.denied.Store(nil)
	s.reconnected.Store(false)
	asking, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	end, err := s.last(asking)
	if denied := s.denied.Load(); err != nil && denied != nil {
		return end, *denied
	}
	return end, err
}

func (s *Sink) last(ctx context.Context) (publish.End, error) {
	info, err := s.stream(ctx)
	if err != nil {
		return publish.End{}, err
	}
	end := publish.End{Created: info.Created}
	if info.State.Msgs == 0 {
		if info.State.LastSeq > 0 {
			end.State = publish.StateAgedOut
		}
		s.chain = chain{known: true, lastSeq: info.State.LastSeq}
		return end, nil
	}
	message, err := s.lastMessage(ctx, info.State.LastSeq)
	switch {
	case err != nil:
		return end, err
	case message.seq > info.State.LastSeq:
		return end, publish.Away(errors.New("the stream grew while it was read"))
	}
	place, err := message.place()
	if err != nil {
		return end, fmt.Errorf("stream %s is %w: its last message (sequence %d) %w; choose another with --stream", s.cfg.Stream, publish.ErrNotOurs,
			message.seq, err)
	}
	s.chain = chain{
		known: true, byID: message.seq == info.State.LastSeq, id: message.header.Get(headerCursor), lastSeq: info.State.LastSeq,
		place: place.Cursor, placeID: place.ID,
	}
	end.Source = message.header.Get(headerSource)
	if place.ID == "" {
		end.State = publish.StateAgedOut
		return end, nil
	}
	end.State, end.Cursor, end.ID = publish.StateHolds, place.Cursor, place.ID
	return end, nil
}

type lastMessage struct {
	seq    uint64
	header nats.Header
}

// lastMessage asks the leader: copies of the stream may be behind. A stale reply does no harm, because the chain refuses what was
// built on it.
func (s *Sink) lastMessage(ctx context.Context, seq uint64) (lastMessage, error) {
	message, err := s.get(ctx, seq)
	if apiErr, ok := errors.AsType[*jetstream.APIError](err); !ok || apiErr.ErrorCode != jetstream.JSErrCodeMessageNotFound {
		return message, err
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		return message, fmt.Errorf("use JetStream: %w", err)
	}
	stream, err := js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return message, s.apiError(err)
	}
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return message, s.apiError(err)
	}
	for seq > info.State.FirstSeq && slices.Contains(info.State.Deleted, seq) {
		seq--
	}
	return s.get(ctx, seq)
}

func (s *Sink) get(ctx context.Context, seq uint64) (lastMessage, error) {
	reply, err := s.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.cfg.Stream, fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return lastMessage{}, publish.Away(fmt.Errorf("read the last message of stream %s: %w", s.cfg.Stream, err))
	}
	var response struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
		} `json:"message"`
	}
	err = json.Unmarshal(reply.Data, &response)
	switch {
	case err != nil:
		return lastMessage{}, publish.Away(fmt.Errorf("read the last message of stream %s: %w", s.cfg.Stream, err))
	case response.Error != nil:
		return lastMessage{}, publish.Away(fmt.Errorf("read the last message of stream %s: %w", s.cfg.Stream, response.Error))
	case response.Message == nil:
		return lastMessage{}, publish.Away(fmt.Errorf("read the last message of stream %s: an empty reply", s.cfg.Stream))
	}
	message := lastMessage{seq: response.Message.Sequence, header: nats.Header{}}
	if len(response.Message.Header) > 0 {
		if message.header, err = nats.DecodeHeadersMsg(response.Message.Header); err != nil {
			return message, fmt.Errorf("read the last message of stream %s: %w", s.cfg.Stream, err)
		}
	}
	return message, nil
}

type placeOf struct {
	Cursor subscribe.Cursor
	ID     string
}

// place returns the last event in order that the stream holds.
func (m lastMessage) place() (placeOf, error) {
	text, id := m.header.Get(headerCursor), m.header.Get(headerID)
	if text == "" || id == "" || m.header.Get(headerSource) == "" {
		return placeOf{}, errors.New("is no event of iuworker")
	}
	if earlier := m.header.Get(headerPlace); earlier != "" {
		if earlier == noPlace {
			return placeOf{}, nil
		}
		text, id, _ = strings.Cut(earlier, " ")
	}
	cursor, err := subscribe.ParseCursor(text)
	if err != nil || cursor.Epoch == "" || id == "" {
		return placeOf{}, fmt.Errorf("has no cursor: %.60q", text)
	}
	return placeOf{cursor, id}, nil
}
