package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// How much of the log may wait for stderr. Lines beyond that are dropped and counted.
const (
	logLines = 8192
	logBytes = 4 << 20
)

// logWriter writes to stderr in the background, in order, so that nothing waits for a stderr that nobody reads (a full pipe,
// a stopped terminal, a journal that hangs). It counts lines that it drops, and writes a notice in their place when stderr
// works again. Write never blocks and never fails. Safe for concurrent use.
type logWriter struct {
	w io.Writer

	mu      sync.Mutex
	queue   []logLine
	size    int   // of the queue's text, in bytes
	lost    int64 // lines since the last notice
	dropped int64 // lines in all
	notice  func(lost int64) []byte
	writing bool          // a goroutine is writing
	any     bool          // something was written
	idle    chan struct{} // closed if nothing is left to write
}

// logLine is one write: a line, or a part of one.
type logLine struct {
	text []byte
	lost int64 // a notice of so many lines, in place of a text
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

// noteBy sets how to write a notice, in the format of the log.
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

// push queues a line, and starts writing unless a goroutine writes already. The caller holds mu.
func (l *logWriter) push(line logLine) {
	l.queue = append(l.queue, line)
	l.size += len(line.text)
	if !l.writing {
		l.writing = true
		l.idle = make(chan struct{})
		go l.write()
	}
}

// write writes until the queue is empty. A write that blocks forever ends with the process.
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

// next removes the next line from the queue. At its end it returns a notice of lost lines, if there are some and the last
// write did not fail. A nil text means that nothing is left.
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

// giveUp counts a line that could not be written. A notice remains due.
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
