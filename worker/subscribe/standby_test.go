package subscribe_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// pair is a primary and its hot standby.
type pair struct {
	*bundle
	standby *iutest.DB
}

func setupPair(t *testing.T) *pair {
	t.Helper()
	db, _ := iutest.Own(t)
	db.OpenGates(t)
	standby, _ := iutest.Standby(t, db, pgserver.StandbyConfig{})
	p := &pair{bundle: &bundle{DB: db, template: db.Template(t, "tpl:invoice", 1)}, standby: standby}
	p.level(t)
	return p
}

// lag makes the standby stay as it is, as with any delay that outlasts the test.
func (p *pair) lag(t *testing.T) {
	t.Helper()
	p.level(t)
	p.standby.Exec(t, "SELECT pg_wal_replay_pause()")
	p.standby.WaitFor(t, patience, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
}

func (p *pair) resume(t *testing.T) {
	t.Helper()
	p.standby.Exec(t, "SELECT pg_wal_replay_resume()")
}

// level waits until the standby has replayed everything.
func (p *pair) level(t *testing.T) {
	t.Helper()
	p.standby.WaitFor(t, patience, "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", value[string](t, p.bundle, "SELECT pg_current_wal_lsn()::text"))
}

// reading makes a subscriber read the standby, however far it is behind.
func (p *pair) reading(c *subscribe.Config) { c.Read, c.MaxLag = p.standby.Pool, -1 }

// alone makes a subscriber know nothing but the standby.
func (p *pair) alone(c *subscribe.Config) { c.Pool = p.standby.Pool }

func from(start subscribe.Start) func(*subscribe.Config) {
	return func(c *subscribe.Config) { c.From = start }
}

func quickly(c *subscribe.Config) { c.PollInterval = 10 * time.Millisecond }

// waits returns once a subscriber has logged that it waits for the standby.
func waits(t *testing.T, said *iutest.Log) {
	t.Helper()
	eventually(t, func() bool { return said.Count("has not replayed this cursor yet; waiting") > 0 })
}

// The standby does not replay anything for a while. Readers that know more than it shows wait, and continue without a gap.
func TestReadersOfAStandbyThatLags(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	before := p.announce(t, 3)
	p.lag(t)
	behind := p.announce(t, 4)
	end, err := subscribe.Resolve(t.Context(), p.Pool, subscribe.Now())
	require.NoError(t, err)
	last := value[string](t, p.bundle, "SELECT instance_collection_id::text FROM iu_outbox.emission WHERE position = 7")

	type reader struct {
		in   inbox
		said *iutest.Log
		run  *running
	}
	open := func(consumer string, how ...func(*subscribe.Config)) *reader {
		r := &reader{}
		cfg := p.config(t, consumer, append(how, quickly)...)
		cfg.Logger, r.said = logging(t)
		r.run = start(t, serial(cfg, r.in.handle))
		return r
	}
	ahead := map[string]*reader{
		"with the primary, after a cursor":    open("", p.reading, from(subscribe.After(end))),
		"without it, after a cursor":          open("", p.alone, from(subscribe.After(end))),
		"with the primary, after an event":    open("", p.reading, from(subscribe.AfterEvent(end, last))),
		"without it, after an event":          open("", p.alone, from(subscribe.AfterEvent(end, last))),
		"with the primary, after a position":  open("", p.reading, from(subscribe.After(subscribe.Cursor{Position: 7}))),
		"without it, after a position":        open("", p.alone, from(subscribe.After(subscribe.Cursor{Position: 7}))),
		"a consumer that begins now, by name": open("ahead", p.reading, from(subscribe.Now())),
	}
	behindIt := map[string]*reader{
		"with the primary":  open("", p.reading, from(subscribe.Beginning())),
		"without it":        open("", p.alone, from(subscribe.Beginning())),
		"a consumer's name": open("whole", p.reading),
	}
	for _, r := range ahead {
		waits(t, r.said)
	}
	for _, r := range behindIt {
		r.in.waitFor(t, before...)
	}
	p.until(t, "SELECT position = 3 FROM iu_outbox.consumer WHERE name = 'whole'") // on the primary

	// The standby begins to replay while more events, and an epoch, come.
	p.Exec(t, "SELECT iu_outbox.begin_epoch()")
	after := p.announce(t, 2)
	p.resume(t)
	for name, r := range ahead {
		r.in.waitFor(t, after...)
		require.NoError(t, r.run.stop(), name)
		require.Equal(t, 1, r.said.Count("the standby has replayed the cursor"), name)
	}
	for name, r := range behindIt {
		r.in.waitFor(t, append(append(before[:3:3], behind...), after...)...)
		require.NoError(t, r.run.stop(), name)
	}
	p.until(t, "SELECT bool_and(position = 9) FROM iu_outbox.consumer")
}

// A cursor whose epoch the standby has not replayed is not lost, nor is one at the very beginning of an epoch.
func TestAnEpochThatAStandbyDoesNotKnowYet(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	p.announce(t, 2)
	p.lag(t)
	p.Exec(t, "SELECT iu_outbox.begin_epoch()")
	begun, err := subscribe.Resolve(t.Context(), p.Pool, subscribe.Now())
	require.NoError(t, err)
	p.announce(t, 1)
	read, err := subscribe.Resolve(t.Context(), p.Pool, subscribe.Now())
	require.NoError(t, err)
	for _, c := range []subscribe.Cursor{begun, read, {Position: 3}} {
		got, err := subscribe.Resolve(t.Context(), p.standby.Pool, subscribe.After(c))
		require.NoError(t, err)
		require.Equal(t, c, got)
		page, err := subscribe.Read(t.Context(), p.standby.Pool, c, subscribe.Filter{}, 10)
		require.NoError(t, err)
		require.Empty(t, page.Events)
		require.Equal(t, c, page.Next)
		require.EqualValues(t, 2, page.End.Position)
	}
	p.resume(t)
	p.level(t)
	page, err := subscribe.Read(t.Context(), p.standby.Pool, begun, subscribe.Filter{}, 10)
	require.NoError(t, err)
	require.Len(t, page.Events, 1)
}

// A position that somebody typed is beyond the end if the primary says so.
func TestAPositionThatWasNeverReachedOnAStandby(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	p.announce(t, 2)
	never := from(subscribe.After(subscribe.Cursor{Position: 99}))
	require.ErrorIs(t, subscribe.Run(t.Context(), p.config(t, "", p.reading, never), new(inbox).handle), subscribe.ErrBeyondEnd)
	tail := p.tail(t, func(c *subscribe.TailConfig) { c.Read = p.standby.Pool })
	_, err := tail.Follow(t.Context(), subscribe.After(subscribe.Cursor{Position: 99}), subscribe.Filter{})
	require.ErrorIs(t, err, subscribe.ErrBeyondEnd)
}

// The history is set back. Readers of the standby are told: at once if they can ask the primary, else when the standby has
// replayed so much that it can tell.
func TestReadersOfAStandbyAreToldOfARewind(t *testing.T) {
	t.Parallel()
	for name, newEpoch := range map[string]bool{"in a new epoch": true, "in the same epoch": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupPair(t)
			p.Exec(t, "CREATE TABLE effect (position bigint, id text)")
			keys := p.announce(t, 6)
			var told, asking, mail inbox
			runs := map[string]*running{
				"without the primary": start(t, serial(p.config(t, "", p.alone, quickly, from(subscribe.Beginning())), told.handle)),
				"with the primary":    start(t, serial(p.config(t, "", p.reading, quickly, from(subscribe.Beginning())), asking.handle)),
				"a consumer":          start(t, serial(p.config(t, "mail", p.reading, quickly), mail.handle)),
			}
			for _, in := range []*inbox{&told, &asking, &mail} {
				in.waitFor(t, keys...)
			}
			p.until(t, "SELECT position = 6 FROM iu_outbox.consumer")
			p.restore(t, 3, 4, newEpoch)
			for name, run := range runs {
				require.ErrorIs(t, run.wait(t), subscribe.ErrRewound, name)
			}
			for _, in := range []*inbox{&told, &asking, &mail} {
				require.Equal(t, keys, in.keys())
			}
		})
	}
}

// A reader that is ahead of a standby learns of a rewind from the primary, and without it when the standby has replayed the
// new epoch.
func TestARewindBehindALaggingStandby(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	p.Exec(t, "CREATE TABLE effect (position bigint, id text)")
	p.announce(t, 3)
	p.lag(t)
	p.announce(t, 3)
	read, err := subscribe.Resolve(t.Context(), p.Pool, subscribe.Now())
	require.NoError(t, err)
	log, said := logging(t)
	alone := p.config(t, "", p.alone, quickly, from(subscribe.After(read)))
	alone.Logger = log
	told := start(t, serial(alone, new(inbox).handle))
	waits(t, said)
	p.restore(t, 4, 1, true)
	require.ErrorIs(t, subscribe.Run(t.Context(), p.config(t, "", p.reading, from(subscribe.After(read))), new(inbox).handle), subscribe.ErrRewound)
	select {
	case <-told.done:
		require.Fail(t, "the standby cannot know", "%v", told.err)
	default:
	}
	p.resume(t)
	var rewound *subscribe.RewoundError
	require.ErrorAs(t, told.wait(t), &rewound)
	require.EqualValues(t, 4, rewound.CommonUntil.Position)
}

// While the standby is away, events come from the primary. Back on the standby, which is behind then, nothing is missing.
func TestAReaderGoesToThePrimaryAndBack(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	away := iutest.NewSwitch(t, p.standby.Host())
	cfg, err := pgxpool.ParseConfig(p.standby.URLAt(away.Addr))
	require.NoError(t, err)
	cfg.MaxConns = 4
	standby, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(standby.Close)
	var in, followed inbox
	log, said := logging(t)
	run := start(t, serial(p.config(t, "mail", quickly, func(c *subscribe.Config) { c.Read, c.MaxLag, c.Logger = standby, -1, log }), in.handle))
	tail := p.tail(t, func(c *subscribe.TailConfig) { c.Read, c.MaxLag, c.Logger = standby, -1, log })
	follower := follow(t, tail, subscribe.Beginning())
	take := func(n int) {
		for _, e := range take(t, follower, n) {
			followed.add(*e)
		}
	}
	keys := p.announce(t, 2)
	in.waitFor(t, keys...)
	take(2)

	p.lag(t)
	away.Lead("127.0.0.1:1")
	p.standby.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
	keys = append(keys, p.announce(t, 3)...)
	in.waitFor(t, keys...)
	take(3)
	require.Positive(t, said.Count("Subscriber: the standby cannot be read; reading from the primary"))
	require.Positive(t, said.Count("Tail: the standby cannot be read; reading from the primary"))

	away.Lead(p.standby.Host())
	eventually(t, func() bool { return said.Count("reading from the standby again") == 2 })
	keys = append(keys, p.announce(t, 2)...)
	waits(t, said)
	require.Equal(t, keys[:5], in.keys())
	p.resume(t)
	in.waitFor(t, keys...)
	take(2)
	require.Equal(t, keys, followed.keys())
	require.NoError(t, run.stop())
}

// Too far behind, too.
func TestAReaderLeavesAStandbyThatIsTooFarBehind(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	p.lag(t)
	var in inbox
	log, said := logging(t)
	run := start(t, serial(p.config(t, "mail", quickly, func(c *subscribe.Config) {
		c.Read, c.MaxLag, c.Logger = p.standby.Pool, 1500*time.Millisecond, log
	}), in.handle))
	keys := p.announce(t, 2)
	in.waitFor(t, keys...)
	require.Equal(t, 1, said.Count("the standby is too far behind; reading from the primary"))
	p.resume(t)
	eventually(t, func() bool { return said.Count("reading from the standby again") == 1 })
	in.waitFor(t, append(keys, p.announce(t, 1)...)...)
	require.NoError(t, run.stop())
}

// Followers that know more than the standby shows wait for it, each at its place.
func TestFollowersOfATailThatReadsAStandby(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	keys := p.announce(t, 2)
	p.lag(t)
	keys = append(keys, p.announce(t, 4)...)
	read, err := subscribe.Read(t.Context(), p.Pool, subscribe.Cursor{}, subscribe.Filter{}, 10)
	require.NoError(t, err)
	tails := []*subscribe.Tail{
		p.tail(t, func(c *subscribe.TailConfig) { c.Read, c.MaxLag = p.standby.Pool, -1 }),
		p.tail(t, func(c *subscribe.TailConfig) { c.Pool = p.standby.Pool }),
	}
	followers := map[*subscribe.Follower][]string{} // to the keys that it has yet to get
	for _, tail := range tails {
		first := follow(t, tail, subscribe.Beginning())
		require.Equal(t, keys[:2], subjects(take(t, first, 2)))
		followers[first] = keys[2:]
		for i, event := range read.Events {
			followers[follow(t, tail, subscribe.AfterEvent(event.Cursor, event.ID))] = keys[i+1:]
		}
	}
	for f, want := range followers {
		events, err := f.Next(t.Context(), 50*time.Millisecond)
		require.NoError(t, err)
		require.Len(t, events, max(len(want)-4, 0), "what the standby shows")
		followers[f] = want[len(events):]
	}
	next := p.announce(t, 1)
	p.resume(t)
	for f, want := range followers {
		require.Equal(t, append(slices.Clip(want), next...), subjects(take(t, f, len(want)+1)))
	}
}

// A consumer's cursor cannot be stored on a standby; the log says what to do.
func TestAConsumerOfAStandbyAlone(t *testing.T) {
	t.Parallel()
	p := setupPair(t)
	log, said := logging(t)
	run := start(t, func(ctx context.Context) error {
		return subscribe.Run(ctx, p.config(t, "mail", p.alone, func(c *subscribe.Config) { c.Logger = log }), new(inbox).handle)
	})
	eventually(t, func() bool { return said.Count("a consumer's cursor is stored on the primary") == 1 })
	require.NoError(t, run.stop())
}
