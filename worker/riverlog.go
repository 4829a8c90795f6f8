package worker

import (
	"context"
	"log/slog"
)

// riverLog is the log that River gets: the worker's own, but River's information is at debug level. What matters of it
// (starts and stops, jobs that failed) the worker says itself, with more to it. Warnings and errors stay.
type riverLog struct{ next slog.Handler }

func quieter(logger *slog.Logger) *slog.Logger { return slog.New(riverLog{logger.Handler()}) }

func riverLevel(level slog.Level) slog.Level {
	if level >= slog.LevelInfo && level < slog.LevelWarn {
		return slog.LevelDebug
	}
	return level
}

// Enabled implements slog.Handler.
func (h riverLog) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, riverLevel(level))
}

// Handle implements slog.Handler.
func (h riverLog) Handle(ctx context.Context, record slog.Record) error {
	record.Level = riverLevel(record.Level)
	return h.next.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return riverLog{h.next.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h riverLog) WithGroup(name string) slog.Handler { return riverLog{h.next.WithGroup(name)} }
