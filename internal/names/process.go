package names

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
)

// Process returns a new name that is unique among all processes, and readable: host, pid and a random part.
func Process() string {
	return fmt.Sprintf("%.60s-%d-%08x", Host(), os.Getpid(), rand.Uint32()) //nolint:gosec // not a secret
}

// Host returns the machine's name.
func Host() string {
	name, _ := os.Hostname() // empty if it is unknown
	return cmp.Or(name, "unknown")
}
