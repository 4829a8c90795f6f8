package jetstream_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// BenchmarkPublish measures what make bench shows of iuworker publish: events per second from a backlog in the table to the
// acknowledged stream, the CPU per event of publisher, broker and PostgreSQL, and how long after its commit an event is in the stream.
// PostgreSQL and the broker are processes on this machine, with their disks; the broker syncs as it does by default.
func BenchmarkPublish(b *testing.B) {
	b.Run("backlog", benchmarkBacklog)
	b.Run("latency", benchmarkLatency)
}

// backlog is how many events wait.
const backlog = 100_000

func benchmarkBacklog(b *testing.B) {
	db, server := iutest.Own(b)
	bundle := bundleOf(b, db)
	fill(b, bundle, backlog)
	postmaster := value[int](b, bundle, "SELECT pg_backend_pid()") // of any session; its parent is the postmaster
	_ = server
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
	bundle, broker := bundleOf(b, iutest.New(b)), newBroker(b)
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
