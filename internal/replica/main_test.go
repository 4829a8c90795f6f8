package replica

import (
	"testing"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestMain(m *testing.M) { iutest.Main(m) }
