package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/internal/retry"
)

func TestMayPass(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"08006": true, "40001": true, "40P01": true, "53100": true, "53300": true, "55P03": true, "57014": true,
		"57P01": true, "58030": true, "XX000": true,
		"22P02": false, "23505": false, "42501": false, "42P01": false, "P0001": false, "0A000": false,
	} {
		require.Equal(t, want, retry.MayPass(fmt.Errorf("call: %w", &pgconn.PgError{Code: code})), code)
	}
	require.True(t, retry.MayPass(io.ErrUnexpectedEOF))
	require.True(t, retry.MayPass(&net.OpError{Op: "dial", Err: errors.New("refused")}))
	require.True(t, retry.MayPass(context.DeadlineExceeded))
	require.False(t, retry.MayPass(errors.New("a bug")))
}

func TestBackoffDoublesUpToAMinute(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-3, 5000).Draw(t, "n")
		wait := retry.Work.Wait(n)
		full := min(time.Minute, 100*time.Millisecond<<min(max(n-1, 0), 20))
		if wait > full || wait < full/2 {
			t.Fatalf("Backoff(%d) = %s, want within [%s, %s]", n, wait, full/2, full)
		}
	})
}

func TestOutageIsSaidOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	o := &retry.Outage{Logger: slog.New(slog.NewTextHandler(&log, nil)), What: "Part: database"}
	o.Worked(t.Context())
	require.Zero(t, log.Len(), "nothing was lost")
	for n := 1; n <= 3; n++ {
		require.Equal(t, n, o.Failed(t.Context(), errors.New("gone")))
	}
	o.Worked(t.Context())
	o.Worked(t.Context())
	require.Equal(t, 1, strings.Count(log.String(), "Part: database lost"))
	require.Equal(t, 1, strings.Count(log.String(), "Part: database is back"))
	require.Zero(t, o.Tries())
	for n := range 50 {
		require.LessOrEqual(t, retry.Reconnect.Wait(n), 2*time.Second)
		require.Positive(t, retry.Reconnect.Wait(n))
	}
}
