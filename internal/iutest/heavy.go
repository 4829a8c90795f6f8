package iutest

import (
	"strings"
	"sync"
	"testing"
)

// mostHeavy is how many heavy tests of a package run at once.
const mostHeavy = 2

var heavy = struct {
	mu    sync.Mutex
	freed *sync.Cond
	uses  map[string]int // by test
}{uses: map[string]int{}}

func init() { heavy.freed = sync.NewCond(&heavy.mu) }

// Heavy waits until the test, with its subtests, is one of the few heavy ones that run at once, so that a busy machine serves
// each of them in time: tests that have servers of their own, or that start many processes. go test -short skips them. It may be
// called again. Safe for concurrent use.
func Heavy(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("heavy, which -short skips")
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	heavy.mu.Lock()
	defer heavy.mu.Unlock()
	for heavy.uses[test] == 0 && len(heavy.uses) >= mostHeavy {
		heavy.freed.Wait()
	}
	heavy.uses[test]++
	t.Cleanup(func() {
		heavy.mu.Lock()
		defer heavy.mu.Unlock()
		if heavy.uses[test]--; heavy.uses[test] == 0 {
			delete(heavy.uses, test)
			heavy.freed.Broadcast()
		}
	})
}
