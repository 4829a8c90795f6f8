package worker

import (
	"context"
	"log/slog"
)

// riverLog is the log that River gets: the worker's own, with River's information at debug level. The worker itself logs what
// matters of that (starts and stops, jobs that failed), with more detail. Warnings and errors stay as they are.
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
