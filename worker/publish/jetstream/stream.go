package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iu-core/iuworker/worker/publish"
)

const duplicateWindow = 2 * time.Minute

// stream returns the stream, and makes it if it is missing and Config.Create says so. It returns an error if messages in it would be
// lost or mixed up.
func (s *Sink) stream(ctx context.Context) (*jetstream.StreamInfo, error) {
	js, err := jetstream.New(s.conn)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	stream, err := js.Stream(ctx, s.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if !s.cfg.Create {
			return nil, fmt.Errorf("stream %s: %w; create it for the subjects %s, or give --create-stream", s.cfg.Stream, publish.ErrNoLog,
				s.subjects.wildcard())
		}
		stream, err = js.CreateStream(ctx, s.streamConfig())
		if apiErr, ok := errors.AsType[*jetstream.APIError](err); ok && apiErr.Code != 503 && apiErr.ErrorCode != codeNameInUse {
			return nil, fmt.Errorf("create stream %s: %s; change --stream, --subject or --replicas, or create it yourself", s.cfg.Stream, apiErr.Description)
		}
	}
	if err != nil {
		return nil, s.apiError(err)
	}
	info := stream.CachedInfo()
	return info, s.check(info.Config)
}

func (s *Sink) streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.cfg.Stream, Description: "Events of " + s.cfg.Database + ", by iuworker publish", Subjects: []string{s.subjects.wildcard()},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Duplicates: duplicateWindow, Replicas: s.cfg.Replicas,
	}
}

// apiError tells what may pass from what somebody must mend.
func (s *Sink) apiError(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("the account of this user has no JetStream: %w; enable it on the server, or use another account", err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return publish.Away(fmt.Errorf("JetStream does not reply: it is starting, has no leader, or is not enabled: %w", err))
	}
	return publish.Away(fmt.Errorf("ask for stream %s: %w", s.cfg.Stream, err))
}

// codeNameInUse: another process made the stream in this moment.
const codeNameInUse = 10058

func (s *Sink) check(cfg jetstream.StreamConfig) error {
	switch {
	case cfg.Retention != jetstream.LimitsPolicy:
		return fmt.Errorf("stream %s has the retention policy %s, which deletes what consumers have handled: use a stream with limits alone",
			s.cfg.Stream, strings.ToLower(cfg.Retention.String()))
	case cfg.Mirror != nil || len(cfg.Sources) > 0:
		return fmt.Errorf("stream %s copies other streams: %w; choose another with --stream", s.cfg.Stream, publish.ErrNotOurs)
	case cfg.SubjectTransform != nil:
		return fmt.Errorf("stream %s changes the subjects of messages: choose another with --stream", s.cfg.Stream)
	case !anyCovers(cfg.Subjects, s.subjects.wildcard()):
		return fmt.Errorf("stream %s does not take the subjects %s, but %s: change --subject, or the stream", s.cfg.Stream, s.subjects.wildcard(),
			strings.Join(cfg.Subjects, ", "))
	case s.warned:
		return nil
	}
	s.warned = true
	if cfg.Storage == jetstream.MemoryStorage {
		s.cfg.Logger.Warn("Publisher: the stream is kept in memory; after a restart of the server it is empty, and the publisher stops")
	}
	if cfg.MaxMsgsPerSubject > 0 {
		s.cfg.Logger.Warn("Publisher: the stream keeps the last messages of each subject alone; a consumer that is late misses the others")
	}
	return nil
}
