package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
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
		"lowest level to log on stderr (default warn; info for work, serve, publish and migrate)")
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
			NoColor:    !terminal || !colourful(getenv),
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

// How much of the log may wait for stderr. Lines beyond that are dropped and counted.
const (
	logLines = 8192
	logBytes = 4 << 20
)

// logWriter writes to stderr in the background, in order: nothing waits for a full pipe, a stopped terminal or a journal that
// hangs. It counts the lines that it drops, and writes a notice in their place when stderr works again. Write never blocks and
// never fails. Safe for concurrent use.
type logWriter struct {
	w       io.Writer
	used    atomic.Bool  // something was written
	dropped atomic.Int64 // lines, since the start

	mu     sync.Mutex
	queue  []logLine
	size   int   // of the queue's text, in bytes
	lost   int64 // lines that were dropped since the last notice
	notice func(lost int64) []byte
	idle   chan struct{} // closed when the queue is empty; nil: nothing is being written
}

// logLine is one write: a line, or a part of one.
type logLine struct {
	text []byte
	lost int64 // a notice of so many lines, in place of a text
}

func newLogWriter(w io.Writer) *logWriter {
	return &logWriter{w: w, notice: func(lost int64) []byte { return fmt.Appendf(nil, "iuworker: %s\n", droppedText(lost)) }}
}

func droppedText(lost int64) string {
	return fmt.Sprintf("%d log lines were dropped, because stderr could not be written to", lost)
}

// noteBy sets how to write a notice, in the format of the log.
func (l *logWriter) noteBy(notice func(lost int64) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notice = notice
}

// Write implements io.Writer.
func (l *logWriter) Write(p []byte) (int, error) {
	l.used.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= logLines || l.size+len(p) > logBytes {
		l.drop()
		return len(p), nil
	}
	if l.lost > 0 {
		l.push(logLine{lost: l.lost})
		l.lost = 0
	}
	l.push(logLine{text: bytes.Clone(p)})
	return len(p), nil
}

// drop counts a line that is not written. The caller holds mu.
func (l *logWriter) drop() {
	l.lost++
	l.dropped.Add(1)
}

// push queues a line, and starts writing unless a goroutine writes already. The caller holds mu.
func (l *logWriter) push(line logLine) {
	l.queue = append(l.queue, line)
	l.size += len(line.text)
	if l.idle == nil {
		l.idle = make(chan struct{})
		go l.write()
	}
}

// write writes until the queue is empty. A write that blocks forever ends with the process.
func (l *logWriter) write() {
	var failed *logLine
	for {
		line, text := l.next(failed)
		if text == nil {
			return
		}
		failed = nil
		if _, err := l.w.Write(text); err != nil {
			failed = &line
		}
	}
}

// next removes the next line from the queue; if it is empty, next returns a notice of lost lines if one is due. failed is what
// the last write failed to write: a line is lost, and a notice is due after another write. A nil text means that nothing is left.
func (l *logWriter) next(failed *logLine) (line logLine, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if failed != nil && failed.lost == 0 {
		l.drop()
	} else if failed != nil {
		l.lost += failed.lost
	}
	switch {
	case len(l.queue) > 0:
		line, l.queue[0] = l.queue[0], logLine{}
		l.queue = l.queue[1:]
		l.size -= len(line.text)
	case l.lost > 0 && failed == nil:
		line.lost, l.lost = l.lost, 0
	default:
		close(l.idle)
		l.queue, l.idle = nil, nil
		return line, nil
	}
	if line.lost > 0 {
		return line, l.notice(line.lost)
	}
	return line, line.text
}

// droppedLines returns how many lines were dropped since the start.
func (l *logWriter) droppedLines() int64 { return l.dropped.Load() }

// flush waits until everything is written, but no longer than limit.
func (l *logWriter) flush(limit time.Duration) {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(limit):
	}
}
