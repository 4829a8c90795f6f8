package replica

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/pgserver"
)

const patience = 90 * time.Second

// reader returns a reader without servers: take alone decides.
func reader(t *testing.T, maxLag time.Duration) (*Reader, *iutest.Log) {
	t.Helper()
	said := &iutest.Log{}
	return New(Config{MaxLag: maxLag, What: "Test", Logger: slog.New(slog.NewTextHandler(said, nil))}), said
}

// found makes a reader take what a check found, and returns whether reads go to the primary then.
func (r *Reader) found(s State) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.At = time.Now()
	r.take(context.Background(), s)
	return r.state.FromPrimary
}

var errAway = errors.New("away")

func TestAStandbyThatIsAway(t *testing.T) {
	t.Parallel()
	r, said := reader(t, 0)
	require.Equal(t, DefaultMaxLag, r.MaxLag())
	require.False(t, r.found(State{}))
	require.True(t, r.found(State{Err: errAway}))
	since := r.State().Since
	require.True(t, r.found(State{Err: errAway}))
	require.Equal(t, since, r.State().Since)
	require.True(t, r.found(State{}), "one good check is not enough")
	require.ErrorIs(t, r.State().Err, errAway, "why it is not read yet")
	require.True(t, r.found(State{Err: errAway}), "it flaps")
	require.True(t, r.found(State{}))
	require.False(t, r.found(State{}))
	require.NoError(t, r.State().Err)
	require.Equal(t, 1, said.Count("Test: the standby cannot be read; reading from the primary"))
	require.Equal(t, 1, said.Count("Test: reading from the standby again"))
}

func TestAStandbyThatIsTooFarBehind(t *testing.T) {
	t.Parallel()
	r, said := reader(t, 10*time.Second)
	for _, step := range []struct {
		lag  time.Duration
		from bool
	}{
		{0, false},
		{10 * time.Second, false},
		{11 * time.Second, true},
		{6 * time.Second, true}, // it returns below half of the limit
		{5 * time.Second, false},
		{9 * time.Second, false},
	} {
		require.Equal(t, step.from, r.found(State{Lag: step.lag}), step.lag)
	}
	require.Equal(t, 1, said.Count("Test: the standby is too far behind; reading from the primary"))

	unlimited, _ := reader(t, -1)
	require.False(t, unlimited.found(State{Lag: 24 * time.Hour}))
	require.True(t, unlimited.found(State{Err: errAway}))
}

func TestAPrimaryThatIsAway(t *testing.T) {
	t.Parallel()
	r, said := reader(t, 10*time.Second)
	require.False(t, r.found(State{Primary: errAway}))
	require.False(t, r.found(State{Primary: errAway, Lag: time.Minute}), "late is better than nothing")
	require.False(t, r.found(State{Primary: errAway, Err: errAway}), "neither can be read")
	require.True(t, r.found(State{Err: errAway}))
	require.True(t, r.found(State{Primary: errAway, Err: errAway}), "the standby is not back")
	require.Zero(t, said.Count("again"))
	require.False(t, r.found(State{Primary: errAway}), "the standby is back, and alone")
}

func TestAStandbyThatIsAvoided(t *testing.T) {
	t.Parallel()
	r, _ := reader(t, 0)
	r.Avoid(t.Context(), errAway)
	for range returnAfter + 1 {
		require.True(t, r.found(State{}), "a check does not find why")
		require.ErrorIs(t, r.State().Err, errAway)
	}
	r.avoided = time.Now()
	for range returnAfter - 1 {
		require.True(t, r.found(State{}))
	}
	require.False(t, r.found(State{}))
}

func TestWithoutAStandby(t *testing.T) {
	t.Parallel()
	primary := new(pgxpool.Pool)
	r := New(Config{Primary: primary})
	r.Run(t.Context()) // ends at once
	require.Equal(t, State{}, r.Check(t.Context()))
	require.False(t, r.HasStandby())
	require.Nil(t, r.Standby())
	require.Same(t, primary, r.Pool())
}

// A standby replays nothing for a while, loses its primary, is lost itself, and comes back. In the end it is one of another server.
func TestChecksOfRealServers(t *testing.T) {
	t.Parallel()
	db, primary := iutest.Own(t)
	standby, server := iutest.Standby(t, db, pgserver.StandbyConfig{})
	said := &iutest.Log{}
	r := New(Config{
		Primary: db.Pool, Standby: standby.Pool, MaxLag: time.Second, CheckTimeout: patience, What: "Test",
		Logger: slog.New(slog.NewTextHandler(said, nil)),
	})
	require.Same(t, standby.Pool, r.Pool(), "until a check finds something else")
	check := func(is func(State) bool) {
		t.Helper()
		iutest.Eventually(t, func() bool { return is(r.Check(t.Context())) }, patience, "%+v\n%s", r.State(), said)
	}
	check(func(s State) bool { return !s.FromPrimary && s.Err == nil && s.Lag == 0 })

	require.NoError(t, server.PauseReplay(t.Context()))
	db.Exec(t, "CREATE TABLE written ()")
	check(func(s State) bool { return s.FromPrimary && s.Err == nil && s.Lag > time.Second })
	require.Same(t, db.Pool, r.Pool())
	require.NoError(t, server.ResumeReplay(t.Context()))
	check(func(s State) bool { return !s.FromPrimary })
	require.Same(t, standby.Pool, r.Pool())

	primary.Kill()
	check(func(s State) bool { return s.Primary != nil && s.Err == nil && !s.FromPrimary })
	require.NoError(t, primary.Restart(t.Context()))
	check(func(s State) bool { return s.Primary == nil && s.Err == nil && !s.FromPrimary })

	running, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(running) }()
	server.Kill()
	iutest.Eventually(t, func() bool { r.Failed(); return r.Pool() == db.Pool }, patience)
	require.Error(t, r.State().Err)
	require.NoError(t, server.Restart(t.Context()))
	iutest.Eventually(t, func() bool { return r.Pool() == standby.Pool }, patience)
	stop()
	<-ended

	another := New(Config{Primary: iutest.New(t).Pool, Standby: standby.Pool, CheckTimeout: patience, What: "Test", Logger: r.logger})
	require.ErrorIs(t, another.Check(t.Context()).Err, errAnother)
	require.True(t, another.State().FromPrimary)
}

// A standby can be read even if the login may not ask for the identity of the servers, or a service hides it.
func TestServersThatDoNotTellWhoTheyAre(t *testing.T) {
	t.Parallel()
	db, _ := iutest.Own(t)
	standby, server := iutest.Standby(t, db, pgserver.StandbyConfig{})
	db.Exec(t, "REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_current_wal_lsn(), pg_last_wal_replay_lsn() FROM PUBLIC")
	pool := func(at *iutest.DB) *pgxpool.Pool {
		pool, err := pgxpool.New(t.Context(), at.URLAs("iu_subscriber"))
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pool
	}
	primaryPool := pool(db) // the role may log in now
	require.NoError(t, server.AwaitReplay(t.Context()))
	standbyPool := pool(standby)
	r := New(Config{Primary: primaryPool, Standby: standbyPool, CheckTimeout: patience})
	got := r.Check(t.Context())
	require.NoError(t, got.Err)
	require.NoError(t, got.Primary)
	require.False(t, got.FromPrimary)
	require.Zero(t, got.Lag)
}
