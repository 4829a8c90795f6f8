package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/jobs"
)

func TestMayPass(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"08006": true, "40001": true, "40P01": true, "53100": true, "53300": true, "55P03": true, "57014": true,
		"57P01": true, "58030": true, "XX000": true,
		"22P02": false, "23505": false, "42501": false, "42P01": false, "P0001": false, "0A000": false,
	} {
		require.Equal(t, want, jobs.MayPass(fmt.Errorf("call: %w", &pgconn.PgError{Code: code})), code)
	}
	require.True(t, jobs.MayPass(io.ErrUnexpectedEOF))
	require.True(t, jobs.MayPass(&net.OpError{Op: "dial", Err: errors.New("refused")}))
	require.True(t, jobs.MayPass(context.DeadlineExceeded))
	require.False(t, jobs.MayPass(errors.New("a bug")))
}

func TestBackoffDoublesUpToAMinute(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-3, 5000).Draw(t, "n")
		wait := jobs.Backoff(n)
		full := time.Minute
		if n < 10 {
			full = min(full, 100*time.Millisecond<<max(n-1, 0))
		}
		if wait > full || wait < full/2 {
			t.Fatalf("Backoff(%d) = %s, want within [%s, %s]", n, wait, full/2, full)
		}
	})
}
