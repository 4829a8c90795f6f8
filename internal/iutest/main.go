package iutest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var atEnd []func()

// AtEnd has Main call a function when the tests have ended, before it checks for leaked goroutines. Not safe for concurrent use.
func AtEnd(end func()) { atEnd = append(atEnd, end) }

// Main is the body of a package's TestMain. It exits with the code of the tests, or with 1 if goroutines leaked or the server
// did not stop.
func Main(m *testing.M, ignore ...goleak.Option) {
	for _, entry := range os.Environ() { // no test, and no program that it starts, may use another database
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "IUWORKER_") || name == "DATABASE_URL" {
			_ = os.Unsetenv(name) // fails only for names that an environment cannot contain
		}
	}
	useMemory()
	code := m.Run()
	for _, end := range atEnd {
		end()
	}
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "iutest: stop the server:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(ignore...); err != nil {
			fmt.Fprintln(os.Stderr, "iutest: the tests leaked goroutines:", err)
			code = 1
		}
	}
	os.Exit(code)
}
