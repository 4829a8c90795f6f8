package worker

import (
	"context"
	"log/slog"
	"strings"
)

// riverLog is the log that River gets: the worker's own, less River's line for each job that failed, which the
// worker says itself, with more to it. That line is at debug level.
type riverLog struct{ slog.Handler }

const riverJobLine = "jobexecutor.JobExecutor: Job "

func quieter(logger *slog.Logger) *slog.Logger { return slog.New(riverLog{logger.Handler()}) }

// Handle implements slog.Handler.
func (l riverLog) Handle(ctx context.Context, record slog.Record) error {
	if record.Level == slog.LevelInfo && strings.HasPrefix(record.Message, riverJobLine) {
		record.Level = slog.LevelDebug
		if !l.Enabled(ctx, record.Level) {
			return nil
		}
	}
	return l.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (l riverLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return riverLog{l.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (l riverLog) WithGroup(name string) slog.Handler { return riverLog{l.Handler.WithGroup(name)} }
