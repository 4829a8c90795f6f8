package drill

import (
	"bufio"
	"encoding/json"
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
	stream bool // has its own cursor, and must get nothing twice
	record *record
	file   *os.File // what it received, a line each; nil: not kept

	mu       sync.Mutex
	receipts []receipt
	problems []string // what it received and cannot be read
	cursor   string   // of a stream client: where its next incarnation continues
}

// receipt is an event as a subscriber received it.
type receipt struct {
	cursor   subscribe.Cursor
	instance uuid.UUID
	event    uuid.UUID
	source   int // which process, and which of its incarnations; 0 for a stream client, each of whose incarnations continues the one before
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

// readLines takes what a process of a consumer prints.
func (s *subscriber) readLines(output io.Reader, source int) {
	s.eachLine(output, func(line []byte) { s.take(line, source) })
}

// readMessages takes what a stream client prints. It returns before the client starts again: the next incarnation continues after
// exactly what was taken, so nothing may come twice.
func (s *subscriber) readMessages(output io.Reader) {
	s.eachLine(output, func(line []byte) {
		var m streamMessage
		err := json.Unmarshal(line, &m)
		if err == nil && m.Kind == "" && m.Data != "" {
			s.take([]byte(m.Data), 0)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil {
			s.cursor, err = m.cursor(s.cursor)
		}
		if err != nil {
			s.problems = append(s.problems, err.Error())
		}
	})
}

// resume returns the arguments with which a stream client continues.
func (s *subscriber) resume() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursor == "" {
		return nil
	}
	return []string{"--after", s.cursor}
}

// eachLine reads lines until the output is closed. The last line of a killed process may be torn, and then counts as not received.
func (s *subscriber) eachLine(output io.Reader, take func(line []byte)) {
	lines := bufio.NewReaderSize(output, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				s.problem(err.Error())
			}
			return
		}
		take(line[:len(line)-1])
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
