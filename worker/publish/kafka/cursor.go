package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	headerID     = "ce_id"
	headerSource = "ce_source"
)

// readCursor reads the cursor topic to its end, and returns what the consumer's last record says.
func (s *Sink) readCursor(ctx context.Context, client *kgo.Client) (publish.End, error) {
	first, end, err := s.offsets(ctx, client)
	if err != nil || first == end {
		return publish.End{}, err
	}
	options, err := s.cfg.options()
	if err != nil {
		return publish.End{}, err
	}
	// Control records tell that the end is reached, if the last transaction there was aborted. The end is that of all records, open
	// transactions of other consumers included: ours may be behind them.
	reader, err := kgo.NewClient(append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.cursorTopic(): {0: kgo.NewOffset().At(first)}}))...)
	if err != nil {
		return publish.End{}, fmt.Errorf("set up the client of Kafka: %w", err)
	}
	defer reader.Close()
	var last *kgo.Record
	for at := first - 1; at < end-1; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return publish.End{}, s.explain(fmt.Errorf("read topic %s: %w", s.cursorTopic(), err))
		}
		for _, failed := range fetches.Errors() {
			return publish.End{}, s.explain(fmt.Errorf("read topic %s: %w", s.cursorTopic(), failed.Err))
		}
		fetches.EachRecord(func(record *kgo.Record) {
			at = max(at, record.Offset)
			if !record.Attrs.IsControl() && string(record.Key) == s.cfg.Consumer {
				last = record
			}
		})
	}
	return s.endOf(last)
}

func (s *Sink) endOf(record *kgo.Record) (publish.End, error) {
	if record == nil {
		return publish.End{}, nil
	}
	end := publish.End{State: publish.StateHolds}
	for _, header := range record.Headers {
		switch header.Key {
		case headerID:
			end.ID = string(header.Value)
		case headerSource:
			end.Source = string(header.Value)
		}
	}
	cursor, err := subscribe.ParseCursor(string(record.Value))
	if err != nil || cursor.Epoch == "" {
		return end, fmt.Errorf("topic %s is %w: the record of consumer %s (offset %d) is no cursor", s.cursorTopic(), publish.ErrNotOurs, s.cfg.Consumer,
			record.Offset)
	}
	end.Cursor = cursor
	return end, nil
}

// offsets returns the first offset of the cursor topic, and the one that the next record gets.
func (s *Sink) offsets(ctx context.Context, client *kgo.Client) (first, end int64, err error) {
	ask := func(timestamp int64) (offset int64, err error) {
		request := kmsg.NewPtrListOffsetsRequest()
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = s.cursorTopic()
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = 0, timestamp
		topic.Partitions = append(topic.Partitions, partition)
		request.Topics = append(request.Topics, topic)
		response, err := request.RequestWith(ctx, client)
		if err != nil {
			return 0, err
		}
		for _, topic := range response.Topics {
			for _, partition := range topic.Partitions {
				return partition.Offset, kerr.ErrorForCode(partition.ErrorCode)
			}
		}
		return 0, errors.New("an empty reply")
	}
	const latest, earliest = -1, -2
	if first, err = ask(earliest); err == nil {
		end, err = ask(latest)
	}
	if err != nil {
		return 0, 0, s.explain(fmt.Errorf("ask for the end of topic %s: %w", s.cursorTopic(), err))
	}
	return first, end, nil
}
