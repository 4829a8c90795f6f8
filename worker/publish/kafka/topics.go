package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/iu-core/iuworker/worker/publish"
)

// checkTopics returns an error unless both topics are there. It makes them if Config.Create says so. Its client is its own: one that
// asked for a topic before it was made keeps that reply for a while.
func (s *Sink) checkTopics(ctx context.Context) error {
	options, err := s.cfg.options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return fmt.Errorf("set up the client of Kafka: %w", err)
	}
	defer client.Close()
	missing, err := s.missing(ctx, client)
	if err != nil || len(missing) == 0 {
		return err
	}
	if !s.cfg.Create {
		return fmt.Errorf("topic %s: %w; create it, or give --create-stream (%s is compacted, and has one partition)", missing[0], publish.ErrNoLog,
			s.cursorTopic())
	}
	for _, topic := range missing {
		if err := s.create(ctx, client, topic); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sink) missing(ctx context.Context, client *kgo.Client) (missing []string, err error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, topic := range []string{s.cfg.Topic, s.cursorTopic()} {
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = new(topic)
		request.Topics = append(request.Topics, one)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, s.explain(fmt.Errorf("ask for the topics: %w", err))
	}
	for _, topic := range response.Topics {
		err := kerr.ErrorForCode(topic.ErrorCode)
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			missing = append(missing, *topic.Topic)
		case err != nil:
			return nil, s.explain(fmt.Errorf("ask for topic %s: %w", *topic.Topic, err))
		case *topic.Topic == s.cursorTopic() && len(topic.Partitions) != 1:
			return nil, fmt.Errorf("topic %s has %d partitions: it must have one; delete it, and create it as docs/publish.md says", s.cursorTopic(),
				len(topic.Partitions))
		}
	}
	return missing, nil
}

func (s *Sink) create(ctx context.Context, client *kgo.Client, topic string) error {
	request := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = topic, -1, int16(s.cfg.Replicas) //nolint:gosec // the flag has a bound
	if topic == s.cursorTopic() {
		one.NumPartitions = 1
		for name, value := range map[string]string{"cleanup.policy": "compact", "segment.bytes": "10485760", "min.cleanable.dirty.ratio": "0.1"} {
			config := kmsg.NewCreateTopicsRequestTopicConfig()
			config.Name, config.Value = name, new(value)
			one.Configs = append(one.Configs, config)
		}
	}
	request.Topics = append(request.Topics, one)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return s.explain(fmt.Errorf("create topic %s: %w", topic, err))
	}
	for _, created := range response.Topics {
		if err := kerr.ErrorForCode(created.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			if authorization(err) || !kerr.IsRetriable(err) {
				return fmt.Errorf("create topic %s: %w; change --topic or --replicas, or create it yourself", topic, err)
			}
			return publish.Away(fmt.Errorf("create topic %s: %w", topic, err))
		}
	}
	return nil
}

func authorization(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) ||
		errors.Is(err, kerr.TransactionalIDAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed)
}

// explain tells a broker that is away from one that refuses.
func (s *Sink) explain(err error) error {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.IllegalSaslState), errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Errorf("Kafka refuses the login: %w; check --sasl, --user and --password-file", err) //nolint:staticcheck // a name
	case authorization(err):
		return fmt.Errorf("Kafka refuses: %w; grant this user the rights that docs/publish.md lists", err) //nolint:staticcheck // a name
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.TransactionCoordinatorFenced):
		return fmt.Errorf("%w: another process publishes as consumer %s, or this one stood still for too long: %w", publish.ErrFenced, s.cfg.Consumer, err)
	}
	if problem := publish.TLSError(err); problem != nil {
		return problem
	}
	return publish.Away(err)
}
