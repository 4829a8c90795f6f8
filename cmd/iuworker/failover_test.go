package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
)

// pair is a primary with a standby behind it, at two addresses that stay while servers come and go behind them.
type pair struct {
	primary, standby *iutest.DB
	servers          [2]*pgserver.Server // of the primary and of the standby
	at               [2]*iutest.Switch   // likewise
	both             *iutest.DB          // the primary's pool, and the URL of both addresses
	template         uuid.UUID
}

func newPair(t testing.TB, cfg pgserver.StandbyConfig) *pair {
	t.Helper()
	p := &pair{}
	p.primary, p.servers[0] = iutest.Own(t)
	p.primary.OpenGates(t)
	p.template = p.primary.Template(t, "letter", 2)
	p.standby, p.servers[1] = iutest.Standby(t, p.primary, cfg)
	p.at = [2]*iutest.Switch{iutest.NewSwitch(t, p.primary.Host()), iutest.NewSwitch(t, p.standby.Host())}
	both := *p.primary
	both.URL = p.url(t, p.at[0].Addr, p.at[1].Addr)
	p.both = &both
	return p
}

// url returns the URL of the database at several addresses.
func (p *pair) url(t testing.TB, addresses ...string) string {
	t.Helper()
	var hosts, ports []string
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		hosts, ports = append(hosts, host), append(ports, port)
	}
	return fmt.Sprintf("postgres:///%s?user=postgres&sslmode=disable&host=%s&port=%s", p.primary.Name, strings.Join(hosts, ","), strings.Join(ports, ","))
}

// failOver kills the primary and promotes the standby, and returns when the promotion was over. The two have changed places then.
func (p *pair) failOver(t testing.TB) (promoted time.Time) {
	t.Helper()
	p.servers[0].Kill()
	require.NoError(t, p.servers[1].Promote(t.Context()))
	promoted = time.Now()
	p.primary, p.standby = p.standby, p.primary
	p.servers[0], p.servers[1] = p.servers[1], p.servers[0]
	p.at[0], p.at[1] = p.at[1], p.at[0]
	return promoted
}

// replace puts a new standby in the place of the one that was killed.
func (p *pair) replace(t testing.TB, cfg pgserver.StandbyConfig) {
	t.Helper()
	require.NoError(t, p.servers[1].Stop())
	p.standby, p.servers[1] = iutest.Standby(t, p.primary, cfg)
	p.at[1].Lead(p.standby.Host())
}

// resumed waits until the primary has composed something after a moment, and returns how long after.
func (p *pair) resumed(t testing.TB, after time.Time) time.Duration {
	t.Helper()
	const first = "FROM public.iu_auto_instantiate_event_log WHERE created_at > $1"
	p.primary.WaitFor(t, patience, "SELECT EXISTS (SELECT "+first+")", after)
	var at time.Time
	require.NoError(t, p.primary.Pool.QueryRow(t.Context(), "SELECT min(created_at) "+first, after).Scan(&at))
	return at.Sub(after)
}

// load is producers that insert events, each one again until its commit is confirmed, as an application does.
type load struct {
	stop      context.CancelFunc
	producers sync.WaitGroup
	mu        sync.Mutex
	confirmed int
}

// loadPace bounds the load: each producer inserts one event in that time at most.
const loadPace = 20 * time.Millisecond

// load starts producers, which stop when the test does.
func (p *pair) load(t testing.TB, producers int) *load {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(p.both.URL + "&target_session_attrs=read-write&connect_timeout=2")
	require.NoError(t, err)
	cfg.MaxConns = int32(producers)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	l := &load{}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(t.Context())
	t.Cleanup(func() {
		l.stop()
		l.producers.Wait()
		pool.Close()
	})
	for producer := range producers {
		l.producers.Go(func() {
			pace := time.NewTicker(loadPace)
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				id, suffix := uuid.New(), fmt.Sprintf("%d-%d-%s", producer, n, uuid.NewString())
				for !p.insert(t, pool, id, suffix, 5*time.Second) { // even if it was told to stop: the event may be there
					<-pace.C
				}
				l.mu.Lock()
				l.confirmed++
				l.mu.Unlock()
				<-pace.C
			}
		})
	}
	return l
}

// insert reports whether the commit of an event was confirmed in time.
func (p *pair) insert(t testing.TB, pool *pgxpool.Pool, id uuid.UUID, suffix string, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	_, err := pool.Exec(ctx, `INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix)
		VALUES ($1, 'order.paid', $2, $3)`, id, p.template, suffix)
	return err == nil
}

// soFar returns how many events were confirmed.
func (l *load) soFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed
}

// end stops the producers, and returns how many events were confirmed.
func (l *load) end() int {
	l.stop()
	l.producers.Wait()
	return l.soFar()
}

// follow runs iuworker subscribe until the test ends. wait returns its exit code once it has ended by itself.
func follow(t testing.TB, db *iutest.DB, args ...string) (out, errOut *buffer, wait func() int) {
	t.Helper()
	out, errOut = newBuffer(), newBuffer()
	ctx, cancel := context.WithCancel(t.Context())
	code, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		code = Run(ctx, append([]string{"subscribe"}, args...), func(name string) string { return on(db)[name] }, out, errOut)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return out, errOut, func() int {
		select {
		case <-ended:
		case <-time.After(patience):
			require.FailNow(t, "it does not end", "%s", errOut)
		}
		return code
	}
}

// positions returns those of printed events.
func positions(t testing.TB, lines string) (found []int) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var event struct{ Position int }
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		found = append(found, event.Position)
	}
	return found
}

// upTo returns the positions from 1 on.
func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i + 1
	}
	return all
}

// withoutRepeats drops what a consumer got a second time.
func withoutRepeats(positions []int) (first []int) {
	seen := map[int]bool{}
	for _, p := range positions {
		if !seen[p] {
			first = append(first, p)
		}
		seen[p] = true
	}
	return first
}

// verified waits until n instances are announced, and fails the test if one is lost or doubled, or if verify finds anything wrong.
func (p *pair) verified(t testing.TB, n int) {
	t.Helper()
	p.primary.WaitFor(t, patience, "SELECT count(*) >= $1 FROM iu_outbox.emission WHERE position IS NOT NULL", n)
	p.primary.WaitFor(t, patience, "SELECT NOT EXISTS (SELECT FROM iu_outbox.event) AND NOT EXISTS (SELECT FROM iu_outbox.job WHERE unfinished)")
	var instances, keys, events, emissions, last int
	require.NoError(t, p.primary.Pool.QueryRow(t.Context(), `
		SELECT count(*), count(DISTINCT l.idempotency_key), count(DISTINCT l.event_id),
		       (SELECT count(*) FROM iu_outbox.emission), (SELECT max(position) FROM iu_outbox.emission)
		FROM public.iu_auto_instantiate_event_log AS l`).Scan(&instances, &keys, &events, &emissions, &last))
	require.Equal(t, []int{n, n, n, n, n}, []int{instances, keys, events, emissions, last}, "nothing is lost, and nothing doubled")
	run(t, on(p.primary), "verify").done(t)
}

// seeNoGap waits until both kinds of subscribers have printed n events.
func seeNoGap(t testing.TB, n int, tail, consumer *buffer) {
	t.Helper()
	iutest.Eventually(t, func() bool {
		return len(positions(t, tail.String())) >= n && len(withoutRepeats(positions(t, consumer.String()))) >= n
	}, patience)
	require.Equal(t, upTo(n), positions(t, tail.String()), "a reader gets each event once, in order")
	require.Equal(t, upTo(n), withoutRepeats(positions(t, consumer.String())), "a consumer gets each event at least once, in order")
}

// stall returns the longest time between two announced events.
func (p *pair) stall(t testing.TB) time.Duration {
	t.Helper()
	var seconds float64
	require.NoError(t, p.primary.Pool.QueryRow(t.Context(), `
		SELECT max(EXTRACT(epoch FROM gap)) FROM (
			SELECT emitted_at - lag(emitted_at) OVER (ORDER BY position) AS gap FROM iu_outbox.emission) AS gaps`).Scan(&seconds))
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

// A machine that is too busy for a moment gets two more tries.
func TestFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	var resumed []time.Duration
	for try := 0; try < 3 && (try == 0 || slices.Min(resumed) >= resumesWithin); try++ {
		resumed = append(resumed, failOverUnderLoad(t, 1)...)
	}
	require.Less(t, slices.Min(resumed), resumesWithin)
}

// resumesWithin is the time after a promotion within which composing has to resume. It takes a second, and more
// on a machine that stalls; without it, composing would resume after a minute.
const resumesWithin = 15 * time.Second

// failoverRounds is the variable that sets how many primaries TestFailoversInARow kills.
const failoverRounds = "FAILOVER_ROUNDS"

func TestFailoversInARow(t *testing.T) {
	t.Parallel()
	text := os.Getenv(failoverRounds)
	if text == "" {
		t.Skip("takes minutes: to kill ten primaries in a row, set " + failoverRounds + "=10")
	}
	rounds, err := strconv.Atoi(text)
	require.NoError(t, err, failoverRounds)
	for _, resumed := range failOverUnderLoad(t, rounds) {
		require.Less(t, resumed, resumesWithin)
	}
}

// failOverUnderLoad kills the primary under load and promotes its synchronous standby, which then gets a standby of its own, in each
// round. It returns how long after each promotion something was composed again.
func failOverUnderLoad(t *testing.T, rounds int) (resumed []time.Duration) {
	t.Helper()
	synchronous := pgserver.StandbyConfig{Synchronous: true}
	p := newPair(t, synchronous)
	_, log, stop := working(t, p.both)
	tail, _, _ := follow(t, p.both, "--after", "0")
	consumer, _, _ := follow(t, p.both, "--consumer", "books")
	l := p.load(t, 4)
	printed(t, tail, 1) // a subscriber that has not begun yet ends if its server does
	printed(t, consumer, 1)
	for round := range rounds {
		if round > 0 {
			p.replace(t, synchronous)
		}
		before := l.soFar()
		iutest.Eventually(t, func() bool { return l.soFar() >= before+100 }, patience)
		killed := time.Now()
		promoted := p.failOver(t)
		resumed = append(resumed, p.resumed(t, promoted))
		confirmed := l.soFar()
		iutest.Eventually(t, func() bool { return l.soFar() >= confirmed+100 }, patience)
		t.Logf("round %d: promoted in %s, composing again %s later, longest time without an announced event so far %s",
			round+1, promoted.Sub(killed).Round(time.Millisecond), resumed[round].Round(time.Millisecond), p.stall(t))
	}
	n := l.end()
	p.verified(t, n)
	seeNoGap(t, n, tail, consumer)
	t.Logf("%d events confirmed, composed and announced: 0 lost, 0 doubled", n)
	require.Equal(t, exitDone, stop(), log.String())
	return resumed
}

// announced inserts events at the primary, and waits until they are announced. It returns the last position.
func (p *pair) announced(t testing.TB, on *iutest.DB, events int) (last int) {
	t.Helper()
	require.NoError(t, on.Pool.QueryRow(t.Context(), "SELECT position FROM iu_outbox.emission_counter").Scan(&last))
	for range events {
		require.True(t, p.insert(t, on.Pool, uuid.New(), uuid.NewString(), patience))
	}
	last += events
	on.WaitFor(t, patience, "SELECT position >= $1 FROM iu_outbox.emission_counter", last)
	return last
}

// printed waits until a subscriber has printed n events.
func printed(t testing.TB, out *buffer, n int) {
	t.Helper()
	iutest.Eventually(t, func() bool { return strings.Count(out.String(), "\n") >= n }, patience, "%s", out)
}

// cursor returns the cursor of a position that a subscriber has printed.
func cursor(t testing.TB, out *buffer, position int) string {
	t.Helper()
	var event struct{ Cursor string }
	require.NoError(t, json.Unmarshal([]byte(strings.Split(out.String(), "\n")[position-1]), &event))
	return event.Cursor
}

// rewound waits until a subscriber has ended because events that it had read are not in the history, and has named the last one
// that is.
func rewound(t testing.TB, errOut *buffer, ended func() int, common string) {
	t.Helper()
	require.Equal(t, exitFailed, ended(), errOut)
	require.Contains(t, errOut.String(), "history rewound")
	require.Contains(t, errOut.String(), common)
	t.Log(errOut)
}

// The standby misses the last commits, whose events were read. The readers are told up to where their history is still valid.
func TestFailoverThatLosesCommits(t *testing.T) {
	t.Parallel()
	p := newPair(t, pgserver.StandbyConfig{})
	_, log, stop := working(t, p.both)
	tail, tailError, tailEnded := follow(t, p.both, "--after", "0")
	consumer, consumerError, consumerEnded := follow(t, p.both, "--consumer", "books")
	common := p.announced(t, p.primary, 4)
	p.primary.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.consumer WHERE name = 'books' AND position = $1)", common)
	require.NoError(t, p.servers[1].AwaitReplay(t.Context()))
	require.NoError(t, p.servers[1].StopReceiving(t.Context()))
	lost := p.announced(t, p.primary, 3)
	printed(t, tail, lost)
	printed(t, consumer, lost)

	cursor := cursor(t, tail, common) // of a reader that has read nothing that is lost
	p.failOver(t)
	last := p.announced(t, p.primary, 5)
	require.Equal(t, common+5, last, "positions continue after the last one that was not lost")
	rewound(t, tailError, tailEnded, cursor)
	rewound(t, consumerError, consumerEnded, cursor)
	require.Equal(t, upTo(lost), positions(t, tail.String()), "nothing of the new history was taken for the old one's")
	require.Equal(t, upTo(lost), positions(t, consumer.String()))

	again := run(t, on(p.both), "subscribe", "--after", cursor, "--limit", "5").done(t)
	require.Equal(t, upTo(last)[common:], positions(t, again.out))
	require.Equal(t, exitDone, stop(), log.String())
	// The consumer may have stored after the failover that it had handled what was lost, which verify would name.
	reset := run(t, on(p.primary), "consumers", "reset", "books", "--to", cursor, "--yes")
	require.Equal(t, exitDone, reset.code, reset.errOut)
	run(t, on(p.primary), "verify").done(t)
}

// The standby is promoted while the primary goes on, and both write until the address leads to the new one and the old one ends.
func TestBothSidesWrite(t *testing.T) {
	t.Parallel()
	p := newPair(t, pgserver.StandbyConfig{})
	address := iutest.NewSwitch(t, p.primary.Host())
	named := *p.primary
	named.URL = p.url(t, address.Addr)
	_, oldLog, stopOld := working(t, &named)
	tail, tailError, tailEnded := follow(t, &named, "--after", "0")
	consumer, consumerError, consumerEnded := follow(t, &named, "--consumer", "books")
	common := p.announced(t, p.primary, 3)
	p.primary.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.consumer WHERE name = 'books' AND position = $1)", common)
	require.NoError(t, p.servers[1].AwaitReplay(t.Context()))

	require.NoError(t, p.servers[1].StopReceiving(t.Context()))
	require.NoError(t, p.servers[1].Promote(t.Context()))
	_, newLog, stopNew := working(t, p.standby)
	newTail, _, _ := follow(t, p.standby, "--after", "0")
	lost := p.announced(t, p.primary, 4)
	kept := p.announced(t, p.standby, 6)
	printed(t, tail, lost)
	printed(t, consumer, lost)
	cursor := cursor(t, tail, common)

	address.Lead(p.standby.Host())
	p.servers[0].Kill()
	rewound(t, tailError, tailEnded, cursor)
	rewound(t, consumerError, consumerEnded, cursor)
	require.Equal(t, upTo(lost), positions(t, tail.String()), "none of the events with the same positions on the other side")
	kept = p.announced(t, p.standby, kept-common-4) // by either worker
	printed(t, newTail, kept)
	require.Equal(t, upTo(kept), positions(t, newTail.String()), "who read the new side all the time sees no gap")
	again := run(t, on(&named), "subscribe", "--after", cursor, "--limit", strconv.Itoa(kept-common)).done(t)
	require.Equal(t, upTo(kept)[common:], positions(t, again.out))
	require.Equal(t, exitDone, stopOld(), oldLog.String())
	require.Equal(t, exitDone, stopNew(), newLog.String())
	run(t, on(p.standby), "verify").done(t)
}

// The old primary's address goes on to accept connections, and never replies: its machine hangs, or a firewall drops packets.
func TestTheOldPrimaryIsSilent(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // the test is over; the kernel accepts connections into the backlog
	p := newPair(t, pgserver.StandbyConfig{})
	pages, log, stop := working(t, p.both)
	tail, tailLog, _ := follow(t, p.both, "--after", "0")
	defer func() {
		if t.Failed() {
			t.Logf("the subscriber's log:\n%s", tailLog)
		}
	}()
	before := p.announced(t, p.primary, 3)
	printed(t, tail, before) // a subscriber that has not begun yet ends if its server does
	require.NoError(t, p.servers[1].AwaitReplay(t.Context()))

	p.at[0].Lead(listener.Addr().String())
	promoted := p.failOver(t)
	after := p.announced(t, p.primary, 3)
	t.Logf("announced %s after the promotion", time.Since(promoted).Round(time.Millisecond))
	printed(t, tail, after)
	require.Equal(t, before+3, after)
	require.Equal(t, upTo(after), positions(t, tail.String()))
	iutest.Eventually(t, func() bool { return get(t, pages+"readyz") == http.StatusOK }, patience)
	run(t, on(p.both), "status").done(t) // a new process has to find out which host works
	require.Equal(t, exitDone, stop(), log.String())

	require.NoError(t, p.servers[0].Stop())
	mute, gone := p.at[1].Addr, p.at[0].Addr
	r := run(t, environment{"DATABASE_URL": p.both.URL + "&connect_timeout=1"}, "status")
	require.Equal(t, exitFailed, r.code)
	r.oneSentence(t)
	require.Contains(t, r.errOut, "at "+mute+": no reply in time, at "+gone+": ")
}
