package drill

import (
	"bufio"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// subscriber is a durable consumer or a stream client, with all that it received. Safe for concurrent use.
type subscriber struct {
	name   string
	index  int
	stream bool // keeps its own cursor, and must get nothing twice
	record *record
	file   *os.File // what it received, a line each; nil: not kept

	mu       sync.Mutex
	receipts []receipt
	problems []string // what it received and cannot be read
}

// receipt is an event as a subscriber received it.
type receipt struct {
	cursor   subscribe.Cursor
	instance uuid.UUID
	event    uuid.UUID
	source   int // which process, and which of its lives; a stream client has one
	at       time.Time
}

// take notes an event. It must be called in the order in which one source received them.
func (s *subscriber) take(text []byte, source int) {
	event, err := subscribe.ParseEvent(text)
	var instance uuid.UUID
	if err == nil {
		instance, err = uuid.Parse(event.ID)
	}
	if err != nil {
		s.problem(err.Error())
		return
	}
	s.keep(text, receipt{cursor: event.Cursor, instance: instance, event: event.Data.EventID, source: source, at: time.Now()})
	s.record.received(event.Data.EventID, s.index)
}

func (s *subscriber) keep(text []byte, r receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_, _ = s.file.Write(append(slices.Clip(text), '\n')) // evidence; the audit does not read it
	}
	s.receipts = append(s.receipts, r)
}

// readLines takes what a process prints, until it closes its stdout. The last line of a killed process may lack its end, and
// was then not received.
func (s *subscriber) readLines(output io.Reader, source int) {
	lines := bufio.NewReaderSize(output, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				s.problem(err.Error())
			}
			return
		}
		s.take(line[:len(line)-1], source)
	}
}

func (s *subscriber) problem(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, text)
}

// received returns what was received so far.
func (s *subscriber) received() (receipts []receipt, problems []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.receipts), s.problems
}

// last returns the position that was received last, 0 if there is none.
func (s *subscriber) last() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.receipts) == 0 {
		return 0
	}
	return s.receipts[len(s.receipts)-1].cursor.Position
}
