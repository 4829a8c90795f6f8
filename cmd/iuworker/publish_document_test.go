package main

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// The function followStream is copied in docs/publish.md, letter by letter.

func followStream(ctx context.Context, conn *nats.Conn, handle func(event []byte) error) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, "IU_SHOP", jetstream.ConsumerConfig{
		Durable: "search-index", FilterSubject: "iu.shop.*", MaxAckPending: 1, // one at a time keeps the order after a failure
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		message, err := messages.Next()
		if err != nil {
			return err
		}
		if err := handle(message.Data()); err != nil {
			return err // the message comes again
		}
		if err := message.DoubleAck(ctx); err != nil {
			return err
		}
	}
}

var someCursor = regexp.MustCompile(`[0-9a-f]{8}-([0-9]+)`)

// shop is a database of that name, with open gates.
func shop(t *testing.T) *iutest.DB {
	t.Helper()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	beside := db.Beside(t)
	db.Pool.Close()
	beside.Exec(t, "ALTER DATABASE "+db.Name+" RENAME TO shop")
	db.Name, db.URL = "shop", strings.Replace(db.URL, "/"+db.Name+"?", "/shop?", 1)
	var err error
	db.Pool, err = pgxpool.New(t.Context(), db.URL)
	require.NoError(t, err)
	return db
}

// The topic of docs/publish.md takes the events, and its cursor topic the last cursor.
func TestPublishToKafkaAsDocumented(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestPublishToKafkaAsDocumented")
	require.Len(t, blocks, 1)
	db := iutest.New(t)
	db.OpenGates(t)
	announce(t, db, db.Template(t, "letter", 1), "a", "b")
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	args := strings.Fields(strings.ReplaceAll(blocks[0].text, "127.0.0.1:9092", c.ListenAddrs()[0]))[2:]
	_, stop := publishing(t, on(db), append(args, "--log-level", "error")...)
	db.WaitFor(t, patience, "SELECT (SELECT position = 2 FROM iu_outbox.consumer WHERE name = 'publish-kafka')")
	require.Equal(t, exitDone, stop())
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("iu.shop.cursor"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	require.NoError(t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := reader.PollFetches(ctx).Records()
	require.NotEmpty(t, all)
	require.Equal(t, "publish-kafka", string(all[len(all)-1].Key))
	require.Regexp(t, `^[0-9a-f]{8}-2$`, string(all[len(all)-1].Value))
}

// docs/publish.md is followed: the dry run prints what it shows, the publisher publishes, and its reader reads.
func TestPublishAsDocumented(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestPublishAsDocumented")
	require.Len(t, blocks, 3)
	db, s := shop(t), natsServer(t)
	env := on(db)
	args := func(b block) []string {
		return strings.Fields(strings.ReplaceAll(b.text, "nats://127.0.0.1:4222", s.ClientURL()))[1:]
	}
	announce(t, db, db.Template(t, "welcome-letter", 1), "order-1")
	printed := someCursor.ReplaceAllString(run(t, env, args(blocks[0])...).done(t).out, "CURSOR-$1")
	shown, _, _ := strings.Cut(someCursor.ReplaceAllString(blocks[1].text, "CURSOR-$1"), "…")
	require.Contains(t, printed, shown)

	_, stop := publishing(t, env, append(args(blocks[2])[1:], "--log-level", "error")...)
	conn, err := nats.Connect(s.ClientURL())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	awaitMessages(t, js, "IU_SHOP", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := make(chan subscribe.Event, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- followStream(ctx, conn, func(text []byte) error {
			event, err := subscribe.ParseEvent(text)
			read <- event
			return err
		})
	}()
	require.EqualValues(t, 1, (<-read).Cursor.Position)
	cancel()
	require.Error(t, <-ended)
	require.Equal(t, exitDone, stop())
}
