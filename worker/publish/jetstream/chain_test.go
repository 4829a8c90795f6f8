package jetstream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// Wherever somebody puts the consumer's row: the stream says where to continue, and the row goes there.
func TestTheStreamDecidesNotTheRow(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 40)
	r := b.publisher(t, broker.servers(), patient).start(t)
	b.published(t)
	for _, position := range []int{0, 17, 40, 999} {
		b.Exec(t, "UPDATE iu_outbox.consumer SET position = $1", position)
		b.announce(t, 3)
		b.published(t)
	}
	require.NoError(t, r.stop())
	for _, position := range []int{0, 30, 888} {
		b.Exec(t, "UPDATE iu_outbox.consumer SET position = $1", position)
		b.announce(t, 3)
		r = b.publisher(t, broker.servers(), patient).start(t)
		b.published(t)
		require.NoError(t, r.stop())
	}
	b.requireEqual(t, broker.servers())
	require.Zero(t, r.counted(t, "iuworker_publish_duplicates_total"))
}

// What the server lost is published again.
func TestABrokerThatWasSetBackIsRefilled(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	r := b.publisher(t, broker.servers()).start(t)
	b.announce(t, 100)
	b.published(t)
	broker.kill(t)
	copied := broker.copyStore(t)
	broker.start(t)
	b.announce(t, 50)
	b.published(t)
	b.requireEqual(t, broker.servers())
	broker.kill(t)
	broker.setBack(t, copied)
	broker.start(t)
	r.logged(t, "moved the consumer to where its effects end") // without any new event
	eventually(t, func() bool { return len(messages(t, broker.servers(), b.stream())) == 150 }, "it was refilled")
	b.requireEqual(t, broker.servers())
}

// Set back to before the first message, a stream looks as if it were new. It is older than the consumer, so it is filled again.
func TestABrokerThatWasSetBackToTheBeginningIsRefilled(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	_, err := jsContext(t, broker.servers()).CreateStream(t.Context(), js.StreamConfig{Name: b.stream(), Subjects: []string{"iu." + b.Name + ".*"}})
	require.NoError(t, err)
	broker.kill(t)
	copied := broker.copyStore(t)
	broker.start(t)
	b.publisher(t, broker.servers()).start(t)
	b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_lease")
	b.announce(t, 20)
	b.published(t)
	broker.kill(t)
	broker.setBack(t, copied)
	broker.start(t)
	eventually(t, func() bool { return len(messages(t, broker.servers(), b.stream())) == 20 }, "it was refilled")
	b.requireEqual(t, broker.servers())
}

func TestAStreamThatAgedOutIsContinued(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"while it runs": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, broker := setup(t), newBroker(t)
			b.announce(t, 20)
			r := b.publisher(t, broker.servers()).start(t)
			b.published(t)
			stream, err := jsContext(t, broker.servers()).Stream(t.Context(), b.stream())
			require.NoError(t, err)
			require.NoError(t, stream.Purge(t.Context()))
			if restart {
				require.NoError(t, r.stop())
				broker.kill(t)
				broker.start(t)
				b.publisher(t, broker.servers()).start(t)
			}
			b.announce(t, 5)
			b.published(t)
			all := messages(t, broker.servers(), b.stream())
			require.Len(t, all, 5)
			require.True(t, strings.HasSuffix(all[0].header.Get("Nats-Msg-Id"), "-21"), all[0].header)
		})
	}
}

func TestAStreamThatWasMadeAnewIsNotFilledBlindly(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 20)
	p := b.publisher(t, broker.servers())
	r := p.start(t)
	b.published(t)
	require.NoError(t, jsContext(t, broker.servers()).DeleteStream(t.Context(), b.stream()))
	b.announce(t, 1)
	err := r.ended(t)
	require.ErrorIs(t, err, publish.ErrRecreated)
	require.ErrorContains(t, err, "--from beginning")
	require.ErrorIs(t, p.start(t).ended(t), publish.ErrRecreated, "nor by the next start")

	b.announce(t, 1)
	p.publish.From, p.publish.Decides = subscribe.Beginning(), true
	p.start(t)
	b.published(t)
	b.requireEqual(t, broker.servers())
}

// A stream that others use, or that would lose messages, is refused before anything is written or any consumer made.
func TestStreamsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 1)
	context := jsContext(t, broker.servers())
	create := func(change func(*js.StreamConfig)) {
		t.Helper()
		cfg := js.StreamConfig{Name: b.stream(), Subjects: []string{"iu." + b.Name + ".>"}}
		change(&cfg)
		_ = context.DeleteStream(t.Context(), b.stream()) // the first time there is none
		_, err := context.CreateStream(t.Context(), cfg)
		require.NoError(t, err)
	}
	refused := func(says string) {
		t.Helper()
		require.ErrorContains(t, b.publisher(t, broker.servers()).start(t).ended(t), says)
		require.Zero(t, value[int](t, b, "SELECT count(*)::int FROM iu_outbox.consumer"))
	}
	send := func(header nats.Header) {
		t.Helper()
		_, err := context.PublishMsg(t.Context(), &nats.Msg{Subject: "iu." + b.Name + ".x", Header: header})
		require.NoError(t, err)
	}
	create(func(c *js.StreamConfig) { c.Retention = js.WorkQueuePolicy })
	refused("retention policy workqueue")
	create(func(c *js.StreamConfig) { c.Retention = js.InterestPolicy })
	refused("retention policy interest")
	create(func(c *js.StreamConfig) { c.Subjects = []string{"orders.>", "iu." + b.Name + ".letter"} })
	refused("does not take the subjects iu." + b.Name + ".*, but orders.>")
	create(func(c *js.StreamConfig) { c.Sources = []*js.StreamSource{{Name: "OTHER"}} })
	refused("copies other streams")
	create(func(*js.StreamConfig) {})
	send(nil)
	refused("its last message (sequence 1) is no event of iuworker")
	send(nats.Header{"ce-id": {"x"}, "ce-source": {"/shop"}, "Nats-Msg-Id": {"12"}})
	refused(`has no cursor: "12"`)
	send(nats.Header{"ce-id": {"x"}, "ce-source": {"/iu-core/other"}, "Nats-Msg-Id": {"0123abcd-12"}})
	refused(`its last message is of source "/iu-core/other", and this database is "/iu-core/` + b.Name)
	create(func(c *js.StreamConfig) { c.Storage = js.MemoryStorage })
	r := b.publisher(t, broker.servers()).start(t)
	r.logged(t, "the stream is kept in memory")
	b.published(t)
	require.NoError(t, r.stop())
	require.NoError(t, context.DeleteStream(t.Context(), b.stream()))
	err := b.publisher(t, broker.servers(), func(p *publisher) { p.sink.Create = false }).start(t).ended(t)
	require.ErrorIs(t, err, publish.ErrNoLog)
}

// setBack sets the database back to a position, as a restore does: the next events get its positions, in another epoch.
func (b *bundle) setBack(t *testing.T, position int) {
	t.Helper()
	b.Exec(t, `
		BEGIN;
		DELETE FROM iu_outbox.emission WHERE position > `+itoa(position)+`;
		UPDATE iu_outbox.emission_counter SET position = `+itoa(position)+`;
		UPDATE iu_outbox.consumer SET position = `+itoa(position)+`;
		COMMIT`)
}

func TestARewoundHistoryStopsThePublisher(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 30)
	p := b.publisher(t, broker.servers())
	r := p.start(t)
	b.published(t)
	b.setBack(t, 10)
	b.Exec(t, "SELECT iu_outbox.begin_epoch()")
	b.announce(t, 1)
	rewound, ok := subscribeRewound(r.ended(t))
	require.True(t, ok)
	require.EqualValues(t, 10, rewound.CommonUntil.Position)
	_, ok = subscribeRewound(p.start(t).ended(t))
	require.True(t, ok, "the next start does not go on, either")
	require.Len(t, messages(t, broker.servers(), b.stream()), 30)

	p.publish.ContinueRewound = true
	r = p.start(t)
	b.announce(t, 4)
	b.published(t)
	require.NoError(t, r.stop())
	b.announce(t, 2)
	p.start(t)
	b.published(t)
	all := messages(t, broker.servers(), b.stream())
	require.Len(t, all, 37)
	b.requireTable(t, append(all[:10:10], all[30:]...))
	require.Equal(t, all[29].header.Get("Nats-Msg-Id"), all[30].header.Get("Nats-Expected-Last-Msg-Id"))
}

// Without a new epoch, other events have the same cursors: nothing would tell them apart.
func TestADatabaseThatWasSetBackUnnoticedStopsThePublisher(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]int{"it is shorter than the stream": 5, "it is longer": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, broker := setup(t), newBroker(t)
			b.announce(t, 30)
			p := b.publisher(t, broker.servers(), func(p *publisher) { p.publish.ContinueRewound = true })
			r := p.start(t)
			b.published(t)
			require.NoError(t, r.stop())
			b.setBack(t, 10)
			b.announce(t, again)
			_, ok := subscribeRewound(p.start(t).ended(t))
			require.True(t, ok)
			require.Len(t, messages(t, broker.servers(), b.stream()), 30)
		})
	}
}

func TestPrunedEventsThatTheStreamLacks(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 10)
	p := b.publisher(t, broker.servers())
	r := p.start(t)
	b.published(t)
	require.NoError(t, r.stop())
	broker.kill(t)
	copied := broker.copyStore(t)
	broker.start(t)
	b.announce(t, 10)
	r = p.start(t)
	b.published(t)
	require.NoError(t, r.stop())
	broker.kill(t)
	broker.setBack(t, copied)
	broker.start(t)
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position <= 15")
	require.ErrorIs(t, p.start(t).ended(t), subscribe.ErrPruned)
	require.Len(t, messages(t, broker.servers(), b.stream()), 10)

	p.publish.From, p.publish.Decides = subscribe.Beginning(), true
	b.announce(t, 1)
	p.start(t)
	b.published(t)
	all := messages(t, broker.servers(), b.stream())
	require.Len(t, all, 16)
	require.True(t, strings.HasSuffix(all[10].header.Get("Nats-Msg-Id"), "-16"))
}

func TestAFilterLeavesEventsOut(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	other := b.Template(t, "bill", 1)
	p := b.publisher(t, broker.servers(), func(p *publisher) { p.publish.Filter.Templates = []string{"bill"} })
	again := func() {
		t.Helper()
		r := p.start(t)
		b.published(t)
		require.NoError(t, r.stop())
		require.NotContains(t, r.log.String(), "where its effects end", "a row that is ahead of the stream is right here")
	}
	b.announce(t, 30)
	again()
	again() // the stream is new, and the row is not at the beginning
	b.announceOf(t, other, 3)
	b.announce(t, 30)
	again()
	b.announce(t, 30)
	again()
	b.Exec(t, "DELETE FROM iu_outbox.emission WHERE position <= 80")
	again() // the row after the stream's last event is pruned
	b.announceOf(t, other, 1)
	again()
	all := messages(t, broker.servers(), b.stream())
	require.Len(t, all, 4)
	for _, msg := range all {
		require.Equal(t, "iu."+b.Name+".bill", msg.subject)
	}
}

// An event that the server does not take is retried; after MaxTries it is a dead letter, and the stream goes on. A replay
// comes late, and the chain goes on behind it.
func TestAnEventThatIsRefused(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	context := jsContext(t, broker.servers())
	cfg := js.StreamConfig{Name: b.stream(), Subjects: []string{"iu." + b.Name + ".*"}, MaxMsgSize: 1500}
	_, err := context.CreateStream(t.Context(), cfg)
	require.NoError(t, err)
	large := func() {
		t.Helper()
		b.Exec(t, `SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'order.paid', $1, $2, 'live', $3)`, b.template,
			"l-"+itoa(b.composed)+strings.Repeat("x", 190), strings.Repeat("y", 200))
		b.composed++
		b.Exec(t, "SELECT iu_outbox.emit(100000)")
	}
	p := b.publisher(t, broker.servers(), func(p *publisher) { p.publish.MaxTries = 2 })
	r := p.start(t)
	large() // the first message of all
	b.published(t)
	b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_dead_letter")
	b.announce(t, 5)
	b.published(t)
	b.announce(t, 5)
	large()
	b.announce(t, 5)
	b.published(t)
	b.until(t, "SELECT count(*) = 2 FROM iu_outbox.consumer_dead_letter")
	large()
	b.published(t)
	b.until(t, "SELECT count(*) = 3 FROM iu_outbox.consumer_dead_letter")
	require.NoError(t, r.stop())
	r = p.start(t) // with a dead letter behind the stream's end
	b.announce(t, 5)
	b.published(t)
	require.Len(t, messages(t, broker.servers(), b.stream()), 20)

	cfg.MaxMsgSize = -1
	_, err = context.UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	_, err = subscribe.ReplayDeadLetters(t.Context(), b.Pool, consumer)
	require.NoError(t, err)
	b.until(t, "SELECT count(*) = 0 FROM iu_outbox.consumer_dead_letter")
	require.NoError(t, r.stop())
	p.start(t)
	b.announce(t, 5)
	b.published(t)
	all := messages(t, broker.servers(), b.stream())
	require.Len(t, all, 28)
	var inOrder, late []message
	for _, msg := range all {
		if msg.header.Get("Iuworker-Place") != "" {
			late = append(late, msg)
		} else {
			inOrder = append(inOrder, msg)
		}
	}
	require.Len(t, late, 3)
	require.Len(t, inOrder, 25)
	position := func(m message) int64 {
		cursor, err := subscribe.ParseCursor(m.header.Get("Nats-Msg-Id"))
		require.NoError(t, err)
		return cursor.Position
	}
	for i := 1; i < len(inOrder); i++ {
		require.Less(t, position(inOrder[i-1]), position(inOrder[i]))
	}
}

// The server remembers the id of a message that somebody deleted, and takes it again only after its duplicate window.
func TestADeletedLastMessageIsPublishedAgain(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	context := jsContext(t, broker.servers())
	_, err := context.CreateStream(t.Context(), js.StreamConfig{
		Name: b.stream(), Subjects: []string{"iu." + b.Name + ".*"}, Duplicates: time.Second,
	})
	require.NoError(t, err)
	b.announce(t, 10)
	p := b.publisher(t, broker.servers())
	r := p.start(t)
	b.published(t)
	require.NoError(t, r.stop())
	stream, err := context.Stream(t.Context(), b.stream())
	require.NoError(t, err)
	require.NoError(t, stream.DeleteMsg(t.Context(), 10))
	require.NoError(t, stream.DeleteMsg(t.Context(), 9))
	b.announce(t, 3)
	p.start(t)
	b.published(t)
	b.requireEqual(t, broker.servers())
}

func TestBinaryMessagesCarryTheDataAlone(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 1)
	b.publisher(t, broker.servers(), func(p *publisher) {
		p.sink.Content, p.sink.Subject = publish.Binary, "shop.{event_type}.by-{actor}.x"
	}).start(t)
	b.published(t)
	all := messages(t, broker.servers(), b.stream())
	event, err := subscribe.ParseEvent([]byte(b.emissions(t)[0]))
	require.NoError(t, err)
	require.Equal(t, "shop.order_paid.by-ann.x", all[0].subject)
	require.Equal(t, value[string](t, b, "SELECT (event -> 'data')::text FROM iu_outbox.emission"), all[0].data)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": event.ID, "ce-position": "1", "ce-cursor": event.Cursor.String(),
	} {
		require.Equal(t, want, all[0].header.Get(name), name)
	}
}

// Several processes: one is active, and another one takes over.
func TestTwoPublishers(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	one := b.publisher(t, broker.servers(), func(p *publisher) { p.publish.Page = 10 }, patient).start(t)
	b.announce(t, 30)
	b.published(t)
	two := b.publisher(t, broker.servers(), patient).start(t)
	two.logged(t, "standing by")
	b.announce(t, 100)
	require.NoError(t, one.stop())
	b.published(t)
	b.requireEqual(t, broker.servers())
	require.Zero(t, two.counted(t, "iuworker_publish_duplicates_total"))
}

// A publisher that stops while the server does not reply says that it does not know.
func TestStoppingWithoutAcknowledgements(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 3)
	r := b.publisher(t, broker.servers(), func(p *publisher) { p.sink.AckTimeout = time.Minute }).start(t)
	b.published(t)
	broker.signal(t, sigStop)
	b.announce(t, 3)
	eventually(t, func() bool { return jetstream.InFlight(r.sink) > 0 }, "messages are in flight")
	require.ErrorContains(t, r.stop(), "were sent, and not acknowledged")
	broker.signal(t, sigCont)
	b.publisher(t, broker.servers()).start(t)
	b.published(t)
	b.requireEqual(t, broker.servers())
}

// What was in flight when a publisher lost its lease is not unacknowledged any more once the log was asked for it.
func TestStoppingAfterALostLease(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	b.announce(t, 3)
	r := b.publisher(t, broker.servers(), patient).start(t)
	b.published(t)
	broker.signal(t, sigStop)
	b.announce(t, 3)
	eventually(t, func() bool { return jetstream.InFlight(r.sink) > 0 }, "messages are in flight")
	b.Exec(t, "UPDATE iu_outbox.consumer_lease SET process = 'another', lease_until = clock_timestamp() + interval '1 hour'")
	r.logged(t, "standing by")
	broker.signal(t, sigCont)
	b.Exec(t, "UPDATE iu_outbox.consumer_lease SET lease_until = clock_timestamp()")
	b.published(t)
	require.NoError(t, r.stop())
	b.requireEqual(t, broker.servers())
}
