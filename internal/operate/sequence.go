package operate

import (
	"fmt"

	"github.com/iu-core/iuworker/internal/compose"
)

// ForwardSequence returns the statement that sets a sequence past the highest number of its column.
func ForwardSequence(name string) string {
	for _, s := range compose.Sequences {
		if s.Name == name {
			return s.Forward()
		}
	}
	return fmt.Sprintf("SELECT setval('%s', the highest number of its column)", name)
}
