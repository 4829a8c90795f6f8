package jetstream

// InFlight returns how many messages are in flight.
func InFlight(s *Sink) int {
	p := s.page()
	if p == nil {
		return 0
	}
	n, _ := p.state()
	return n
}

// Token and Covers are for tests.
var (
	Token  = token
	Covers = covers
)

// Wildcard is the subject of all messages.
func (s *Sink) Wildcard() string { return s.subjects.wildcard() }
