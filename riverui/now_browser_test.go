//go:build browser

package webui_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

// visitBusy opens the pages of a busy database.
func visitBusy(t *testing.T, user, password string) site {
	t.Helper()
	b := setupOperating(t, func(cfg *webui.Config) { cfg.BasePath, cfg.Environment = "/iu", "PROD" })
	fillBusy(t, b.db)
	return browse(t, b, user, password)
}

func TestNowOfABusyDatabase(t *testing.T) {
	t.Parallel()
	s := visitBusy(t, "otto", operatorPassword)
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
	require.Empty(t, s.complaints())
}
