package kafka_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/kafka"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestTheTopicIsTheTable(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	b.announce(t, 300)
	r := b.start(t, b.config(c.ListenAddrs()))
	b.published(t)
	b.announce(t, 5)
	b.published(t)
	require.NoError(t, r.stop())
	all := b.requireEqual(t, c.ListenAddrs())
	event, err := subscribe.ParseEvent(all[0].Value)
	require.NoError(t, err)
	require.Equal(t, event.Subject, string(all[0].Key))
	require.Equal(t, map[string]string{
		"content-type": "application/cloudevents+json", "ce_id": event.ID, "ce_type": subscribe.EventType, "ce_source": "/iu-core/" + b.Name,
		"ce_subject": event.Subject, "ce_time": event.Time.Format("2006-01-02T15:04:05.000000Z"),
	}, headers(all[0]))

	// Wherever somebody puts the consumer's row: the topic says where to continue.
	for _, position := range []int{0, 999, 100} {
		b.Exec(t, "UPDATE iu_outbox.consumer SET position = $1", position)
		b.announce(t, 3)
		r = b.start(t, b.config(c.ListenAddrs()))
		b.published(t)
		require.NoError(t, r.stop())
	}
	b.requireEqual(t, c.ListenAddrs())
}

func headers(record *kgo.Record) map[string]string {
	all := map[string]string{}
	for _, header := range record.Headers {
		all[header.Key] = string(header.Value)
	}
	return all
}

func TestKeysAndBinaryContent(t *testing.T) {
	t.Parallel()
	for key, want := range map[kafka.Key]func(e subscribe.Event) string{
		kafka.KeySubject:  func(e subscribe.Event) string { return e.Subject },
		kafka.KeyEvent:    func(e subscribe.Event) string { return e.Data.EventID.String() },
		kafka.KeyTemplate: func(subscribe.Event) string { return "letter" },
		kafka.KeyActor:    func(subscribe.Event) string { return "ann" },
		kafka.KeyNone:     func(subscribe.Event) string { return "" },
	} {
		t.Run(string(key), func(t *testing.T) {
			t.Parallel()
			b, c := setup(t), cluster(t, kfake.DefaultNumPartitions(3))
			b.announce(t, 10)
			b.start(t, b.config(c.ListenAddrs(), func(cfg *kafka.Config) { cfg.Key, cfg.Content = key, publish.Binary }))
			b.published(t)
			at := map[string]int32{}
			for _, record := range records(t, c.ListenAddrs(), 10) {
				var data subscribe.Data
				require.NoError(t, json.Unmarshal(record.Value, &data))
				require.Equal(t, "application/json", headers(record)["content-type"])
				require.Equal(t, "1.0", headers(record)["ce_specversion"])
				require.Equal(t, want(subscribe.Event{Subject: data.InstanceKey, Data: data}), string(record.Key))
				if first, seen := at[string(record.Key)]; seen && key != kafka.KeyNone {
					require.Equal(t, first, record.Partition, "one key, one partition")
				}
				at[string(record.Key)] = record.Partition
			}
		})
	}
}

// A publisher that was killed in its transaction leaves it open. The next one ends it, and nobody reads its events.
func TestAHungTransactionIsEnded(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	r := b.start(t, b.config(c.ListenAddrs()))
	b.announce(t, 20)
	b.published(t)
	require.NoError(t, r.stop())
	hung, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("iuworker./iu-core/"+b.Name+"."+consumer),
		kgo.TransactionTimeout(10*time.Minute))
	require.NoError(t, err)
	defer hung.Close()
	require.NoError(t, hung.BeginTransaction())
	require.NoError(t, hung.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("of a transaction that nobody ends")}).FirstErr())
	b.announce(t, 20)
	b.start(t, b.config(c.ListenAddrs()))
	b.published(t)
	b.requireEqual(t, c.ListenAddrs())
	require.Error(t, hung.EndTransaction(t.Context(), kgo.TryCommit), "it is shut out")
	b.requireEqual(t, c.ListenAddrs())
}

// The commit of a publisher that stood still while another one took over is refused, and ends it.
func TestAZombieIsFenced(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	b.announce(t, 10)
	page, err := subscribe.Read(t.Context(), b.Pool, subscribe.Cursor{}, subscribe.Filter{}, 10)
	require.NoError(t, err)
	open := func() *kafka.Sink {
		sink, err := kafka.New(b.config(c.ListenAddrs(), func(cfg *kafka.Config) { cfg.AckTimeout = 30 * time.Second }))
		require.NoError(t, err)
		t.Cleanup(sink.Close)
		end, err := sink.Last(t.Context())
		require.NoError(t, err)
		require.Equal(t, publish.StateNew, end.State)
		return sink
	}
	zombie, active := open(), open()
	require.ErrorIs(t, zombie.Publish(t.Context(), page.Events), publish.ErrFenced)
	require.NoError(t, active.Publish(t.Context(), page.Events))
	b.requireEqual(t, c.ListenAddrs())
	peek, err := zombie.Peek(t.Context())
	require.NoError(t, err)
	require.Equal(t, publish.End{State: publish.StateHolds, Cursor: page.Events[9].Cursor, ID: page.Events[9].ID, Source: "/iu-core/" + b.Name}, peek)
	b.announce(t, 1)
	page, err = subscribe.Read(t.Context(), b.Pool, page.Next, subscribe.Filter{}, 10)
	require.NoError(t, err)
	require.NoError(t, active.Publish(t.Context(), page.Events), "who peeks shuts nobody out")
	b.requireEqual(t, c.ListenAddrs())
}

// Replies that are lost after the broker has done what was asked: the topic tells what happened.
func TestFaultsAfterAppending(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]kfake.Fault{
		"produce, timed out":           {Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut},
		"produce, too few replicas":    {Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend},
		"commit, timed out":            {Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.RequestTimedOut, TopLevel: true},
		"commit, no coordinator":       {Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.CoordinatorNotAvailable, TopLevel: true},
		"commit, an unknown error":     {Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true},
		"produce, an unknown error":    {Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownServerError},
		"produce, not enough replicas": {Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 3},
		"begin, no coordinator":        {Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorNotAvailable, TopLevel: true, Count: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, c := setup(t), cluster(t)
			b.start(t, b.config(c.ListenAddrs()))
			b.announce(t, 60)
			b.published(t)
			handle := c.Fault(fault)
			b.announce(t, 120)
			b.published(t)
			b.announce(t, 5)
			b.published(t)
			b.requireEqual(t, c.ListenAddrs())
			handle.Remove()
		})
	}
}

func TestBrokersThatRestart(t *testing.T) {
	t.Parallel()
	b, dir := setup(t), t.TempDir()
	c := cluster(t, kfake.DataDir(dir))
	brokers := c.ListenAddrs()
	port := portOf(t, brokers[0])
	r := b.start(t, b.config(brokers))
	b.announce(t, 100)
	b.published(t)
	for range 2 {
		c.Close()
		b.announce(t, 100)
		eventually(t, func() bool { return strings.Contains(r.log.String(), "Publisher: broker lost") }, "the publisher notices")
		c = cluster(t, kfake.DataDir(dir), kfake.Ports(port))
		b.published(t)
	}
	b.requireEqual(t, brokers)
}

// Two processes of one consumer, killed one after the other under load, and stopped for a while.
func TestPublishersThatAreKilled(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	publishers := []*exec.Cmd{b.spawn(t, c.ListenAddrs()), b.spawn(t, c.ListenAddrs())}
	for round := range 4 {
		b.announce(t, 150)
		b.until(t, "SELECT position > $1 FROM iu_outbox.consumer", round*170)
		b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_lease WHERE lease_until > clock_timestamp()")
		i := round % 2
		if round == 3 {
			require.NoError(t, publishers[i].Process.Signal(syscall.SIGSTOP))
			b.until(t, "SELECT split_part(process, '-', -2) <> $1 FROM iu_outbox.consumer_lease", itoa(publishers[i].Process.Pid))
			b.announce(t, 20)
			b.published(t)
			require.NoError(t, publishers[i].Process.Signal(syscall.SIGCONT))
			continue
		}
		require.NoError(t, publishers[i].Process.Kill())
		_ = publishers[i].Wait() // it was killed
		publishers[i] = b.spawn(t, c.ListenAddrs())
		b.announce(t, 20)
		b.published(t)
	}
	b.announce(t, 20)
	b.published(t)
	b.requireEqual(t, c.ListenAddrs())
}

// Another consumer's transaction that stays open does not hide where ours ended.
func TestTwoConsumersShareACursorTopic(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	r := b.start(t, b.config(c.ListenAddrs()))
	b.announce(t, 10)
	b.published(t)
	other, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("another"))
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.BeginTransaction())
	require.NoError(t, other.ProduceSync(t.Context(), &kgo.Record{Topic: topic + ".cursor", Key: []byte("another"), Value: []byte("0123abcd-7")}).FirstErr())
	b.announce(t, 10)
	b.published(t)
	require.NoError(t, r.stop())
	b.announce(t, 1)
	b.start(t, b.config(c.ListenAddrs()))
	b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_lease")
	require.NoError(t, other.EndTransaction(t.Context(), kgo.TryAbort))
	b.published(t)
	b.requireEqual(t, c.ListenAddrs())
}

func TestAnEventThatIsTooLarge(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "1100"}))
	b.start(t, b.config(c.ListenAddrs()), func(cfg *publish.Config) { cfg.MaxTries, cfg.Page = 2, 1 })
	b.announce(t, 3)
	b.announceAs(t, 1, incompressible(200), incompressible(190))
	b.announce(t, 3)
	b.published(t)
	b.until(t, "SELECT count(*) = 1 FROM iu_outbox.consumer_dead_letter")
	require.Len(t, records(t, c.ListenAddrs(), 6), 6)
}

// incompressible returns n characters that no codec makes shorter.
func incompressible(n int) string {
	var text strings.Builder
	for text.Len() < n {
		text.WriteString(rand.Text())
	}
	return text.String()[:n]
}

func TestTopicsThatAreMissing(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	err := b.start(t, b.config(c.ListenAddrs(), func(cfg *kafka.Config) { cfg.Create = false })).ended(t)
	require.ErrorIs(t, err, publish.ErrNoLog)
	require.ErrorContains(t, err, "--create-stream")
	require.NoError(t, c.CreateTopic(topic+".cursor", 2, nil))
	require.ErrorContains(t, b.start(t, b.config(c.ListenAddrs())).ended(t), "has 2 partitions: it must have one")
}

// The cursor of another database, or one that is none, is not ours.
func TestACursorTopicOfOthers(t *testing.T) {
	t.Parallel()
	b, c := setup(t), cluster(t)
	b.announce(t, 1)
	r := b.start(t, b.config(c.ListenAddrs()))
	b.published(t)
	require.NoError(t, r.stop())
	err := b.start(t, b.config(c.ListenAddrs(), func(cfg *kafka.Config) { cfg.Source = "/iu-core/other" })).ended(t)
	require.ErrorIs(t, err, publish.ErrNotOurs)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic + ".cursor", Key: []byte(consumer), Value: []byte("x")}).FirstErr())
	require.ErrorIs(t, b.start(t, b.config(c.ListenAddrs())).ended(t), publish.ErrNotOurs)
}

func TestSASL(t *testing.T) {
	t.Parallel()
	for mechanism, method := range map[string]string{
		kafka.SASLPlain: "PLAIN", kafka.SASLScramSHA256: "SCRAM-SHA-256", kafka.SASLScramSHA512: "SCRAM-SHA-512",
	} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			b, c := setup(t), cluster(t, kfake.EnableSASL(), kfake.Superuser(method, "ann", "secret"))
			login := func(password string) func(*kafka.Config) {
				return func(cfg *kafka.Config) {
					cfg.Login = kafka.Login{SASL: mechanism, User: "ann", Password: func() (string, error) { return password, nil }}
				}
			}
			// As a broker of Kafka replies to a wrong password; kfake cuts the connection.
			wrong := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, Err: kerr.SaslAuthenticationFailed, TopLevel: true, Count: -1})
			err := b.start(t, b.config(c.ListenAddrs(), login("wrong"))).ended(t)
			require.ErrorContains(t, err, "Kafka refuses the login")
			require.NotContains(t, err.Error(), "wrong")
			wrong.Remove()
			b.announce(t, 1)
			r := b.start(t, b.config(c.ListenAddrs(), login("secret")))
			b.published(t)
			require.NoError(t, r.stop())
		})
	}
}

// A right that is missing ends the publisher, whichever it is.
func TestRightsThatAreMissing(t *testing.T) {
	t.Parallel()
	allow := func(resource kmsg.ACLResourceType, name string, operation kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypePrefixed, Operation: operation, Allow: true}
	}
	const readCursor = "Read cursor"
	// As docs/publish.md lists them.
	rights := map[string]kfake.ACL{
		"Write topic":            allow(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationWrite),
		readCursor:               allow(kmsg.ACLResourceTypeTopic, topic+".cursor", kmsg.ACLOperationRead),
		"Write transactional.id": allow(kmsg.ACLResourceTypeTransactionalId, "iuworker.", kmsg.ACLOperationWrite),
	}
	publishing := func(t *testing.T, without string) error {
		b := setup(t)
		var acls []kfake.ACL
		for name, acl := range rights {
			if name != without {
				acls = append(acls, acl)
			}
		}
		c := cluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "root"), kfake.User("PLAIN", "ann", "secret", acls...))
		require.NoError(t, c.CreateTopic(topic, 1, nil))
		require.NoError(t, c.CreateTopic(topic+".cursor", 1, nil))
		b.announce(t, 1)
		cfg := b.config(c.ListenAddrs(), func(cfg *kafka.Config) {
			cfg.Create = false
			cfg.Login = kafka.Login{SASL: kafka.SASLPlain, User: "ann", Password: func() (string, error) { return "secret", nil }}
		})
		r := b.start(t, cfg)
		if without == "" || without == readCursor { // an empty topic is not read
			b.published(t)
			require.NoError(t, r.stop())
			r = b.start(t, cfg)
			b.announce(t, 1)
		}
		if without == "" {
			b.published(t)
			return r.stop()
		}
		return r.ended(t)
	}
	require.NoError(t, publishing(t, ""))
	for name := range rights {
		t.Run("without "+name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, publishing(t, name), "Kafka refuses")
		})
	}
}

// A client that is not ours reads what was written.
func TestKcatReads(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("kcat")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("there is no kcat: install Debian's package, or run .ci/setup tests")
	}
	require.NoError(t, err, "CI has kcat, by .ci/setup tests")
	b, c := setup(t), cluster(t)
	b.announce(t, 30)
	b.start(t, b.config(c.ListenAddrs()))
	b.published(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-b", c.ListenAddrs()[0], "-C", "-t", topic, "-o", "beginning", "-c", "30", "-q",
		"-X", "isolation.level=read_committed", "-f", "%k %s\\n").Output()
	require.NoError(t, err)
	for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		key, value, _ := strings.Cut(line, " ")
		require.Equal(t, b.emissions(t)[i], value)
		require.Contains(t, value, `"`+key+`"`)
	}
}
