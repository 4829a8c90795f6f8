package names

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
)

// Process returns a new name that tells this process from all others, for people too: host, pid and a random part.
func Process() string {
	return fmt.Sprintf("%.60s-%d-%08x", Host(), os.Getpid(), rand.Uint32()) //nolint:gosec // guards nothing
}

// Host returns the machine's name.
func Host() string {
	name, _ := os.Hostname() // empty if it has none
	return cmp.Or(name, "unknown")
}
