package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stalled is a stderr whose writes block until released is closed.
type stalled struct {
	mu       sync.Mutex
	text     bytes.Buffer
	released chan struct{}
	began    chan struct{} // receives one value for each write
}

func newStalled() *stalled {
	return &stalled{released: make(chan struct{}), began: make(chan struct{}, 2*logLines)}
}

func (s *stalled) Write(p []byte) (int, error) {
	s.began <- struct{}{}
	<-s.released
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *stalled) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSuffix(s.text.String(), "\n"), "\n")
}

func TestALogThatNobodyReadsIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	stderr := newStalled()
	log := newLogWriter(stderr)
	fmt.Fprintln(log, "first")
	<-stderr.began // the line is being written, and the queue is empty
	for n := range logLines + 5 {
		written, err := fmt.Fprintln(log, "line", n)
		require.NoError(t, err)
		require.NotZero(t, written)
	}
	require.EqualValues(t, 5, log.droppedLines())
	began := time.Now()
	log.flush(10 * time.Millisecond)
	require.Less(t, time.Since(began), patience, "an end does not wait for stderr")

	close(stderr.released)
	log.flush(patience)
	lines := stderr.lines()
	require.Len(t, lines, 1+logLines+1, "the notice comes without another line")
	require.Equal(t, "first", lines[0])
	require.Equal(t, fmt.Sprint("line ", logLines-1), lines[logLines], "in order")
	require.Equal(t, "iuworker: 5 log lines were dropped, because stderr could not be written to", lines[logLines+1])
	fmt.Fprintln(log, "again")
	log.flush(patience)
	require.Equal(t, "again", stderr.lines()[logLines+2])
}

func TestTheNoticeOfDroppedLinesStandsWhereTheyAreMissing(t *testing.T) {
	t.Parallel()
	stderr := newStalled()
	log := newLogWriter(stderr)
	f := logFlags{format: "json", level: "error"}
	f.logger(log, func(string) string { return "" }, quietLevel)
	large := strings.Repeat("x", logBytes/2)
	fmt.Fprintln(log, "first")
	<-stderr.began
	fmt.Fprintln(log, large)
	fmt.Fprintln(log, large) // more than fits into the queue
	fmt.Fprintln(log, "small")
	close(stderr.released)
	log.flush(patience)
	lines := stderr.lines()
	require.Len(t, lines, 4)
	require.Contains(t, lines[2], `"level":"WARN","msg":"Log: 1 log lines were dropped`, "as the rest of the log")
	require.Equal(t, "small", lines[3])
}

// failing is a stderr whose writes fail while fails is set.
type failing struct {
	bytes.Buffer

	fails bool
}

func (f *failing) Write(p []byte) (int, error) {
	if f.fails {
		return 0, errors.New("nobody is there")
	}
	return f.Buffer.Write(p)
}

func TestALogThatCannotBeWrittenIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	stderr := &failing{fails: true}
	log := newLogWriter(stderr)
	for range 3 {
		fmt.Fprintln(log, "lost")
		log.flush(patience)
	}
	stderr.fails = false
	fmt.Fprintln(log, "said")
	log.flush(patience)
	require.EqualValues(t, 3, log.droppedLines())
	require.Equal(t, "iuworker: 3 log lines were dropped, because stderr could not be written to\nsaid\n", stderr.String())
}

func TestAClosedStderrIsNoFailure(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	defer writer.Close() //nolint:errcheck // the test is over
	log := newLogWriter(writer)
	fmt.Fprintln(log, "lost")
	log.flush(patience)
	require.EqualValues(t, 1, log.droppedLines())
}

func TestManyWriteTheLogAtOnce(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := newLogWriter(&text)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				_, _ = io.WriteString(log, "whole line\n")
			}
		})
	}
	wg.Wait()
	log.flush(patience)
	require.Zero(t, log.droppedLines())
	require.Equal(t, strings.Repeat("whole line\n", 4000), text.String())
}
