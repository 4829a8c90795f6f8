package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// How much of the log waits for stderr at most. What comes beyond that is dropped and counted.
const (
	logLines = 8192
	logBytes = 4 << 20
)

// logWriter writes to stderr in the background, in order, so that a stderr that nobody reads (a full pipe, a stopped
// terminal, a journal that hangs) holds nothing up. A line that is dropped is counted, and a notice stands in its place as
// soon as stderr can be written to again. Write never blocks and never fails. Safe for concurrent use.
type logWriter struct {
	w io.Writer

	mu      sync.Mutex
	queue   []logLine
	size    int   // of the queue's text, in bytes
	lost    int64 // lines since the last notice
	dropped int64 // lines in all
	notice  func(lost int64) []byte
	writing bool          // there is a goroutine that writes
	any     bool          // something was written
	idle    chan struct{} // closed when nothing is left to write
}

// logLine is what was written at once: a line, or a part of one.
type logLine struct {
	text []byte
	lost int64 // in place of a text: a notice of so many lines
}

func newLogWriter(w io.Writer) *logWriter {
	idle := make(chan struct{})
	close(idle)
	return &logWriter{w: w, idle: idle, notice: func(lost int64) []byte {
		return fmt.Appendf(nil, "iuworker: %s\n", droppedText(lost))
	}}
}

// written reports whether anything was written.
func (l *logWriter) written() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.any
}

func droppedText(lost int64) string {
	return fmt.Sprintf("%d log lines were dropped, because stderr could not be written to", lost)
}

// noteBy sets what a notice looks like, as the rest of the log does.
func (l *logWriter) noteBy(notice func(lost int64) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notice = notice
}

// Write implements io.Writer.
func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.any = true
	defer l.mu.Unlock()
	if len(l.queue) >= logLines || l.size+len(p) > logBytes {
		l.lost++
		l.dropped++
		return len(p), nil
	}
	if l.lost > 0 {
		l.push(logLine{lost: l.lost})
		l.lost = 0
	}
	l.push(logLine{text: bytes.Clone(p)})
	return len(p), nil
}

// push queues a line, and sees that somebody writes it. The caller holds mu.
func (l *logWriter) push(line logLine) {
	l.queue = append(l.queue, line)
	l.size += len(line.text)
	if !l.writing {
		l.writing = true
		l.idle = make(chan struct{})
		go l.write()
	}
}

// write writes what is queued until nothing is. A write that blocks for ever ends with the process.
func (l *logWriter) write() {
	failed := false
	for {
		line, text := l.next(failed)
		if text == nil {
			return
		}
		_, err := l.w.Write(text)
		if failed = err != nil; failed {
			l.giveUp(line)
		}
	}
}

// next takes the next line out of the queue, or, if the last one could be written, a notice of those that are missing at its
// end. Without a text, nothing is left.
func (l *logWriter) next(failed bool) (line logLine, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.queue) > 0:
		line = l.queue[0]
		l.queue[0] = logLine{}
		l.queue = l.queue[1:]
		l.size -= len(line.text)
	case l.lost > 0 && !failed:
		line.lost = l.lost
		l.lost = 0
	default:
		l.queue, l.writing = nil, false
		close(l.idle)
		return line, nil
	}
	if line.lost > 0 {
		return line, l.notice(line.lost)
	}
	return line, line.text
}

// giveUp counts a line that could not be written; a notice stays due.
func (l *logWriter) giveUp(line logLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += line.lost
	if line.lost == 0 {
		l.lost++
		l.dropped++
	}
}

// droppedLines returns how many lines were dropped since the start.
func (l *logWriter) droppedLines() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// flush waits until everything is written, but no longer than limit.
func (l *logWriter) flush(limit time.Duration) {
	l.mu.Lock()
	idle := l.idle
	l.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}
