package jetstream_test

import (
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestTheStreamIsTheTable(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 3000)
	r := b.publisher(t, broker.servers(), patient).start(t)
	b.published(t)
	all := b.requireEqual(t, broker.servers())
	require.Equal(t, 3000, r.counted(t, "iuworker_publish_events_total"))
	require.Zero(t, r.counted(t, "iuworker_publish_duplicates_total"))

	b.announce(t, 5)
	b.published(t)
	require.NoError(t, r.Ready(t.Context()))
	require.NoError(t, r.stop())
	all = append(all[:0], b.requireEqual(t, broker.servers())...)

	event, err := subscribe.ParseEvent([]byte(all[0].data))
	require.NoError(t, err)
	require.Equal(t, "iu."+b.Name+".welcome_letter", all[0].subject)
	require.Equal(t, map[string][]string{
		"Content-Type": {"application/cloudevents+json"}, "ce-id": {event.ID}, "ce-type": {subscribe.EventType}, "ce-source": {"/iu-core/" + b.Name},
		"ce-subject": {"tpl-inst:auto:s-1"}, "ce-time": {event.Time.Format("2006-01-02T15:04:05.000000Z")},
		"Nats-Msg-Id": {event.Cursor.String()}, "Nats-Expected-Stream": {b.stream()}, "Nats-Expected-Last-Sequence": {"0"},
	}, map[string][]string(all[0].header))
	require.Equal(t, event.Cursor.String(), all[1].header.Get("Nats-Expected-Last-Msg-Id"))

	stream, err := jsContext(t, broker.servers()).Stream(t.Context(), b.stream())
	require.NoError(t, err)
	made := stream.CachedInfo().Config
	require.Equal(t, js.FileStorage, made.Storage)
	require.Equal(t, js.LimitsPolicy, made.Retention)
	require.Equal(t, 2*time.Minute, made.Duplicates)
	require.Equal(t, []string{"iu." + b.Name + ".*"}, made.Subjects)
}
