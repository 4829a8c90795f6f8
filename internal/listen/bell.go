package listen

// Bell is a doorbell inside the process: rings that nobody waited for yet are one ring. Receive from it to wait. Safe
// for concurrent use.
type Bell chan struct{}

// NewBell makes a bell that has not rung.
func NewBell() Bell { return make(Bell, 1) }

// Ring never blocks.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}
