package bench

import (
	"testing"

	"github.com/iu-core/iuworker/sql/iutest"
)

func TestMain(m *testing.M) { iutest.Main(m) }
