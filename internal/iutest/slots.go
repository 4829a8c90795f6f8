package iutest

import (
	"strings"
	"sync"
	"testing"
)

// slots bounds how many tests have servers of their own at once, so that a busy machine serves each of them in time.
var slots = newOwnServers(3)

// ownServers counts how many servers of its own each test has, subtests included. Safe for concurrent use.
type ownServers struct {
	mu    sync.Mutex
	freed *sync.Cond
	most  int
	tests map[string]int
}

func newOwnServers(most int) *ownServers {
	s := &ownServers{most: most, tests: map[string]int{}}
	s.freed = sync.NewCond(&s.mu)
	return s
}

// take waits until the test may start a server of its own. A test that has one may start more.
func (s *ownServers) take(t testing.TB) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.tests[test] == 0 && len(s.tests) >= s.most {
		s.freed.Wait()
	}
	s.tests[test]++
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.tests[test]--; s.tests[test] == 0 {
			delete(s.tests, test)
			s.freed.Signal()
		}
	})
}
