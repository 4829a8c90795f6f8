package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/retry"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	write := func(f logFlags) string {
		var b bytes.Buffer
		logger := f.logger(&b, func(string) string { return "" }, slog.LevelWarn)
		logger.Info("Part: told", slog.Int("n", 1))
		logger.Warn("Part: warned", slog.Int("n", 2))
		return b.String()
	}
	for name, f := range map[string]logFlags{"auto": {format: "auto"}, "json": {format: "json"}} {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(write(f)), &line), name)
		require.Equal(t, "Part: warned", line["msg"])
	}
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3} WRN Part: warned n=2\n$`, write(logFlags{format: "text"}), "off a terminal without colour")
	require.Contains(t, write(logFlags{format: "text", level: "info"}), "told")
	require.Empty(t, write(logFlags{format: "text", level: "error"}))
}

// The tests overlook what a busy machine adds to the log, and nothing else.
func TestOnlySlownessIsOverlooked(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	f := logFlags{format: "auto"}
	logger := f.logger(&b, func(string) string { return "" }, quietLevel)
	(&retry.Outage{Logger: logger, What: "Subscriber: lease connection"}).Failed(t.Context(), context.DeadlineExceeded)
	logger.Warn("Pages: the standby cannot be read; reading from the primary", slog.String("error", `a "quoted" one`))
	require.Empty(t, unhurried(b.String()))
	for _, level := range []slog.Level{slog.LevelWarn, slog.LevelError} {
		b.Reset()
		logger.Log(t.Context(), level, "Subscriber: the handler failed", slog.String("error", "connection lost; trying again until it is back"))
		require.Equal(t, b.String(), unhurried(b.String()))
	}
	b.Reset()
	logger.Error("Session: connection lost; trying again until it is back")
	require.NotEmpty(t, unhurried(b.String()))
}

func TestDurationsInJSONAreTexts(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 54_712_345: "54.7ms", 1_234_567_890: "1.2s", 90 * time.Second: "1m30s", 1_250: "1.3µs", -54_712_345: "-54.7ms",
	} {
		var b bytes.Buffer
		f := logFlags{format: "json"}
		f.logger(&b, func(string) string { return "" }, slog.LevelInfo).Info("Part: took", slog.Duration("took", d))
		var line map[string]any
		require.NoError(t, json.Unmarshal(b.Bytes(), &line))
		require.Equal(t, want, line["took"])
	}
}
