package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Default levels: those of a command that prints its result, and of one that logs what it does.
const (
	quietLevel = slog.LevelWarn
	toldLevel  = slog.LevelInfo
)

type logFlags struct {
	level  string
	format string
}

func (f *logFlags) register(flags *pflag.FlagSet) {
	f.format = "auto"
	flags.Var(choiceValue(&f.level, "debug", "info", "warn", "error"), "log-level",
		"lowest level to log on stderr (default warn; work and migrate: info)")
	flags.Var(choiceValue(&f.format, "auto", "text", "json"), "log-format",
		"format of the log; auto is text on a terminal, JSON elsewhere")
}

// logger returns a logger; defaultLevel applies if no level is given. It honours NO_COLOR and TERM=dumb.
func (f *logFlags) logger(w io.Writer, getenv func(string) string, defaultLevel slog.Level) *slog.Logger {
	level := defaultLevel
	if f.level != "" {
		_ = level.UnmarshalText([]byte(f.level)) // the flag has checked it
	}
	terminal, asJSON := isTerminal(w), f.isJSON(w)
	handler := func(w io.Writer, level slog.Level) slog.Handler {
		if asJSON {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: durationsAsText})
		}
		return tint.NewTextHandler(w, &tint.Options{
			Level:      level,
			TimeFormat: time.TimeOnly + ".000",
			NoColor:    !terminal || getenv("NO_COLOR") != "" || getenv("TERM") == "dumb",
		})
	}
	if lines, ok := w.(*logWriter); ok {
		lines.noteBy(func(lost int64) []byte {
			var b bytes.Buffer
			slog.New(handler(&b, slog.LevelWarn)).Warn("Log: " + droppedText(lost))
			return b.Bytes()
		})
	}
	return slog.New(handler(w, level))
}

// isJSON reports whether the log on w is JSON.
func (f *logFlags) isJSON(w io.Writer) bool {
	return f.format == "json" || f.format == "auto" && !isTerminal(w)
}

// durationsAsText writes durations like "54.7ms", with about four digits: slog's JSON has numbers without a unit.
func durationsAsText(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() != slog.KindDuration {
		return attr
	}
	d := attr.Value.Duration()
	for unit := time.Second; unit >= time.Microsecond; unit /= 1000 {
		if d.Abs() >= unit {
			d = d.Round(unit / 1000 * 100)
			break
		}
	}
	return slog.String(attr.Key, d.String())
}

func isTerminal(w io.Writer) bool {
	if lines, ok := w.(*logWriter); ok {
		w = lines.w
	}
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
