package jetstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
	iusql "github.com/iu-core/iuworker/sql"
)

// BenchmarkPublish measures what make bench shows of iuworker publish: events per second from a backlog in the table to the
// acknowledged stream, the CPU per event of publisher, broker and PostgreSQL, and how long after its commit an event is in the stream.
// PostgreSQL and the broker are processes on this machine, with their disks; PostgreSQL syncs each commit, the broker as it does by
// default.
func BenchmarkPublish(b *testing.B) {
	b.Run("backlog", benchmarkBacklog)
	b.Run("catchup", benchmarkCatchUp)
	b.Run("latency", benchmarkLatency)
}

// ownServer is a database on a server of its own with its usual settings.
func ownServer(b *testing.B) *bundle {
	b.Helper()
	server, err := pgserver.Start(b.Context(), pgserver.Config{TCP: true, Settings: map[string]string{"max_wal_size": "4GB"}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, server.Stop()) })
	pool, err := pgxpool.New(b.Context(), server.URL("postgres")+"&pool_max_conns=20")
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	_, err = iusql.Up(b.Context(), iusql.Config{ConnConfig: pool.Config().ConnConfig, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	return bundleOf(b, &iutest.DB{URL: server.URL("postgres"), Name: "postgres", Pool: pool})
}

// benchmarkCatchUp measures a publisher whose broker was away, while producers insert 500 events per second, and what they keep of that.
func benchmarkCatchUp(b *testing.B) {
	bundle, broker := ownServer(b), newBroker(b)
	const behind, rate = 300_000, 500
	fill(b, bundle, behind)
	alone, stopped := context.WithTimeout(b.Context(), 5*time.Second)
	defer stopped()
	usual := bundle.produce(alone, rate)
	for b.Loop() {
		bundle.Exec(b, "DELETE FROM iu_outbox.consumer")
		producing, stop := context.WithCancel(b.Context())
		produced := make(chan float64)
		go func() { produced <- bundle.produce(producing, rate) }()
		began := time.Now()
		r := bundle.publisher(b, broker.servers()).start(b)
		bundle.published(b)
		took := time.Since(began)
		stop()
		b.ReportMetric(<-produced/usual, "producers-kept")
		b.ReportMetric(behind/took.Seconds(), "events/s")
		b.ReportMetric(3600*rate*took.Seconds()/behind, "s/hour-away")
		require.NoError(b, r.stop())
		require.NoError(b, jsContext(b, broker.servers()).DeleteStream(b.Context(), bundle.stream()))
	}
}

// produce inserts events on eight connections, at most rate per second, until ctx ends, and returns how many per second it inserted.
func (b *bundle) produce(ctx context.Context, rate int) float64 {
	const connections = 8
	began := time.Now()
	var inserted atomic.Int64
	var producers sync.WaitGroup
	for range connections {
		producers.Go(func() {
			ticker := time.NewTicker(time.Second * connections / time.Duration(rate))
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
				if _, err := b.Pool.Exec(ctx, `
					INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
					VALUES ('order.placed', $1, gen_random_uuid()::text)`, b.template); err == nil {
					inserted.Add(1)
				}
			}
		})
	}
	producers.Wait()
	return float64(inserted.Load()) / time.Since(began).Seconds()
}

// backlog is how many events wait.
const backlog = 100_000

func benchmarkBacklog(b *testing.B) {
	bundle := ownServer(b)
	fill(b, bundle, backlog)
	postmaster := value[int](b, bundle, "SELECT pg_backend_pid()") // of any session; its parent is the postmaster
	for b.Loop() {
		b.StopTimer()
		broker := newBroker(b)
		bundle.Exec(b, "DELETE FROM iu_outbox.consumer")
		bundle.Exec(b, "CHECKPOINT")
		before := cpuOf(b, postmaster, broker)
		b.StartTimer()
		began := time.Now()
		r := bundle.publisher(b, broker.servers()).start(b)
		bundle.published(b)
		took := time.Since(began)
		b.StopTimer()
		after := cpuOf(b, postmaster, broker)
		require.NoError(b, r.stop())
		broker.kill(b)
		b.ReportMetric(backlog/took.Seconds(), "events/s")
		for i, name := range []string{"publisher", "broker", "postgres"} {
			b.ReportMetric(float64((after[i]-before[i]).Microseconds())/backlog, name+"-us/event")
		}
		b.StartTimer()
	}
}

// fill makes a backlog of events as they are in the table, without the instances behind them.
func fill(b *testing.B, bundle *bundle, n int) {
	b.Helper()
	bundle.announce(b, 1)
	bundle.Exec(b, `
		INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at)
		SELECT n, g.id, e.event || jsonb_build_object('id', g.id, 'position', n, 'cursor', c.epoch || '-' || n), clock_timestamp()
		FROM iu_outbox.emission AS e, iu_outbox.emission_counter AS c,
		     LATERAL (SELECT n, gen_random_uuid() AS id FROM generate_series(2, $1::int) AS n) AS g
		WHERE e.position = 1`, n)
	bundle.Exec(b, "UPDATE iu_outbox.emission_counter SET position = $1", n)
	bundle.Exec(b, "VACUUM ANALYZE iu_outbox.emission")
}

func benchmarkLatency(b *testing.B) {
	bundle, broker := ownServer(b), newBroker(b)
	r := bundle.publisher(b, broker.servers()).start(b)
	bundle.announce(b, 1)
	bundle.published(b)
	stream, err := jsContext(b, broker.servers()).Stream(b.Context(), bundle.stream())
	require.NoError(b, err)
	const rate, seconds = 100, 10
	for b.Loop() {
		arrived := make(chan time.Duration, rate*seconds)
		committed := make([]time.Time, rate*seconds+2)
		reader, err := stream.OrderedConsumer(b.Context(), js.OrderedConsumerConfig{DeliverPolicy: js.DeliverNewPolicy})
		require.NoError(b, err)
		first := bundle.composed + 1
		consume, err := reader.Consume(func(msg js.Msg) {
			cursor := msg.Headers().Get(nats.MsgIdHdr)
			position, _ := strconv.Atoi(cursor[strings.LastIndexByte(cursor, '-')+1:])
			arrived <- time.Since(committed[position-first])
		})
		require.NoError(b, err)
		ticker := time.NewTicker(time.Second / rate)
		for i := range rate * seconds {
			<-ticker.C
			committed[i] = time.Now() // before the statement: the figure has the time to compose and commit in it
			bundle.announce(b, 1)
		}
		ticker.Stop()
		var all []time.Duration
		for range rate * seconds {
			all = append(all, <-arrived)
		}
		consume.Stop()
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	}
	require.NoError(b, r.stop())
}

// cpuOf returns the CPU time of this process, the broker, and PostgreSQL.
func cpuOf(b *testing.B, session int, broker *broker) (cpu [3]time.Duration) {
	b.Helper()
	cpu[0] = processCPU(b, os.Getpid())
	cpu[1] = processCPU(b, broker.cmd.Process.Pid)
	parent := parentOf(b, session)
	cpu[2] = processCPU(b, parent)
	entries, err := os.ReadDir("/proc")
	require.NoError(b, err)
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && parentOf(b, pid) == parent {
			cpu[2] += processCPU(b, pid)
		}
	}
	return cpu
}

// stat returns the fields of a process behind its name; none if it is gone.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

func parentOf(_ *testing.B, pid int) int {
	fields := stat(pid)
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// processCPU counts in hundredths of a second, with children that ended.
func processCPU(_ *testing.B, pid int) (sum time.Duration) {
	fields := stat(pid)
	if len(fields) < 15 {
		return 0
	}
	for _, field := range fields[11:15] {
		ticks, _ := strconv.Atoi(field)
		sum += time.Duration(ticks) * 10 * time.Millisecond
	}
	return sum
}
