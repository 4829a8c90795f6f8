package jetstream

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// Sink is a stream. Its methods are called one at a time, but for Connected and Close.
type Sink struct {
	cfg      Config
	subjects *subjects
	conn     *nats.Conn
	inbox    string
	warned   bool // of what the stream's configuration risks

	chain chain

	live   atomic.Pointer[nats.Conn] // conn, for Connected and Close
	denied atomic.Pointer[error]     // what the server refused last

	reconnected atomic.Bool // since Last was called

	mu      sync.Mutex
	pages   int
	current *page // what is in flight; nil: nothing
}

// chain is the stream's end, after which Publish continues.
type chain struct {
	known   bool
	byID    bool             // the next message names its predecessor, not the last sequence
	id      string           // of the last message
	lastSeq uint64           // of the stream, when it was asked
	place   subscribe.Cursor // of the last event in order
	placeID string           // its id; "" if there is no such event
}

var _ publish.Sink = (*Sink)(nil)

// New checks the configuration. It does not connect.
func New(cfg Config) (*Sink, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg, subjects: newSubjects(cfg.Subject, cfg.Database)}, nil
}
