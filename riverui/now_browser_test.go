//go:build browser

package webui_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNowOfABusyDatabase(t *testing.T) {
	t.Parallel()
	s := visit(t, "otto", operatorPassword)
	fillBusy(t, s.db)
	s.screen(1440, 900)
	s.open(s.address + "/")
	s.wait(`document.querySelector("#running .running")`)
	s.picture("now-light")
	s.scheme("dark")
	s.picture("now-dark")
	s.screen(390, 844)
	s.picture("now-phone-dark")
	s.scheme("light")
	s.picture("now-phone-light")
	_ = os.Getenv
	_ = filepath.Join
	require.Empty(t, s.complaints())
}
