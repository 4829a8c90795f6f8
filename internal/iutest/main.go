package iutest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// Main is the body of a package's TestMain. It does not return: it exits with the tests' code, or with 1 where
// goroutines were left or the server could not be ended.
func Main(m *testing.M, ignore ...goleak.Option) {
	clearEnvironment()
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "iutest: end the server:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(ignore...); err != nil {
			fmt.Fprintln(os.Stderr, "iutest: tests left goroutines:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// clearEnvironment removes what would lead a test, or a program that it starts, to some other database.
func clearEnvironment() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "IUWORKER_") || name == "DATABASE_URL" {
			_ = os.Unsetenv(name) // fails for names that no environment holds
		}
	}
}
