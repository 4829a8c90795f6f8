package replica

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLag(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	var s samples
	require.Zero(t, s.lag(0, at(0)), "nothing is known yet")
	s.add(sample{100, at(1)})
	s.add(sample{100, at(2)}) // the primary is idle
	s.add(sample{200, at(3)})
	s.add(sample{300, at(4)})
	require.Equal(t, 9*time.Second, s.lag(50, at(10)), "the first place that is missing was seen at 1")
	require.Equal(t, 7*time.Second, s.lag(100, at(10)))
	require.Equal(t, 7*time.Second, s.lag(199, at(10)), "replayed, but not all of it")
	require.Equal(t, 17*time.Second, s.lag(199, at(20)), "it stands still")
	require.Zero(t, s.lag(300, at(20)))
	require.Zero(t, s.lag(900, at(30)), "it is ahead of what this process saw of the primary")
	s.add(sample{300, at(40)})
	require.Zero(t, s.lag(300, at(50)), "the standby of an idle primary has no lag")
	s.add(sample{400, at(60)})
	require.Equal(t, time.Second, s.lag(300, at(61)))
	s.add(sample{10, at(70)}) // a failover, to a server that has written less
	require.Equal(t, 5*time.Second, s.lag(5, at(75)))
	require.Zero(t, s.lag(10, at(75)))
}

func TestLagForgetsWhatIsTooLongAgo(t *testing.T) {
	t.Parallel()
	var s samples
	for n := range samplesMost + 100 {
		s.add(sample{int64(n + 1), time.Unix(int64(n), 0)})
	}
	require.Len(t, s, samplesMost)
	require.Equal(t, samplesMost*time.Second, s.lag(0, time.Unix(samplesMost+100, 0)), "at least that much")
}

// The lag is the age of the first place that is missing, by a model that remembers every check.
func TestLagAsAModelHasIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s samples
		var all []sample
		written, replayed := int64(1), int64(0)
		for second := range rapid.IntRange(1, 60).Draw(t, "seconds") {
			now := time.Unix(int64(second), 0)
			written += rapid.Int64Range(0, 3).Draw(t, "written")
			replayed = rapid.Int64Range(replayed, written).Draw(t, "replayed")
			s.add(sample{written, now})
			all = append(all, sample{written, now})
			var want time.Duration
			for _, seen := range all {
				if seen.written > replayed {
					want = now.Sub(seen.at)
					break
				}
			}
			if got := s.lag(replayed, now); got != want {
				t.Fatalf("second %d: %d of %d replayed: lag %s, want %s", second, replayed, written, got, want)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{"42501": true, "42883": true, "0A000": true, "55000": true, "57P01": false, "28P01": false, "3D000": false} {
		require.Equal(t, want, refused(fmt.Errorf("ask: %w", &pgconn.PgError{Code: code})), code)
	}
	require.False(t, refused(nil))
	require.False(t, refused(errors.New("connection refused")))
}
