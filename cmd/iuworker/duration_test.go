package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "0.5d30m": 12*time.Hour + 30*time.Minute,
		"90m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0": 0, "0s": 0, "1h30m5s": 90*time.Minute + 5*time.Second,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, says := range map[string]string{
		"30": "write 30s, 30m, 30h or 30d", "": "such as 30d", "d": "such as 30d", "30x": "such as 30d", "1h2d": "such as 30d",
		"-1h": "without a sign", "+1h": "without a sign", "1d-2h": "without a sign", "1d+2h": "without a sign",
		"-30d": "without a sign", "1e3d": "such as 30d", " 1d": "such as 30d", "1d 2h": "such as 30d", "٣d": "such as 30d",
		"106752d": "too long", "99999999999999999999d": "too long", "106751d24h": "too long", "9999999h": "such as 30d",
		"forever": "such as 30d",
	} {
		_, err := parseDuration(text)
		require.ErrorContains(t, err, says, "%q", text)
	}
}

func TestFormatDurationIsReadBack(t *testing.T) {
	t.Parallel()
	require.Equal(t, "7d", formatDuration(7*day))
	require.Equal(t, "24h", formatDuration(day))
	require.Equal(t, "1h30m", formatDuration(90*time.Minute))
	require.Equal(t, "1m30s", formatDuration(90*time.Second))
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Min(0).Draw(t, "d"))
		got, err := parseDuration(formatDuration(d))
		if err != nil || got != d {
			t.Fatalf("parseDuration(%q) = %s, %v, want %s", formatDuration(d), got, err, d)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"30d", "1d12h", "1.5d", "250ms", "", "30", "-1h", "1d-1h", "9223372036854775807ns", "forever"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("parseDuration(%q) = %d, which is negative", text, d)
		}
		again, err := parseDuration(formatDuration(d))
		if err != nil || again != d {
			t.Fatalf("%q is %s, and reads back as %s, %v", text, d, again, err)
		}
	})
}

func TestDurationValue(t *testing.T) {
	t.Parallel()
	var d time.Duration
	value := foreverValue(&d, time.Second, 30*day)
	require.NoError(t, value.Set("1d"))
	require.Equal(t, day, d)
	require.NoError(t, value.Set("forever"))
	require.Equal(t, "forever", value.String())
	require.ErrorContains(t, value.Set("31d"), "from 1s to 30d")
	require.ErrorContains(t, value.Set("1ms"), "from 1s to 30d")
	require.Error(t, durationValue(&d, time.Second, 30*day).Set("forever"))
}
