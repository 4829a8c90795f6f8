package webui_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

func writeCredentials(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode)) // whatever the umask is
	return path
}

func TestCredentialsThatOthersMayReadAreRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // files have no such modes on Windows
	}
	for _, mode := range []os.FileMode{0o604, 0o644, 0o602, 0o620} {
		_, err := webui.ReadCredentials(writeCredentials(t, "viewer:ann:longenough\n", mode))
		require.ErrorContains(t, err, "may be read or changed by others", mode)
		require.ErrorContains(t, err, "chmod 600")
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o440} {
		_, err := webui.ReadCredentials(writeCredentials(t, "viewer:ann:longenough\n", mode))
		require.NoError(t, err, mode)
	}
	_, err := webui.ReadCredentials(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "no such file")
}

func TestErrorsInCredentialsDoNotQuoteThem(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                               "it has no user",
		"# nothing\n\n":                  "it has no user",
		"operator:ann":                   "line 1: it must be role:user:password",
		"admin:ann:topsecret":            "line 1: the role must be viewer or operator",
		"viewer::topsecret":              "line 1: the user must be 1 to 100",
		"viewer:a b:topsecret":           "line 1: the user must be 1 to 100",
		"#x\nviewer:ann:secret":          "line 2: the password has fewer than 8 characters",
		"viewer:ann:$2y$secret":          "begins like a bcrypt hash but is not one",
		"viewer:a:topsecret\nviewer:a:x": "line 2: the user is in an earlier line, too",
	} {
		_, err := webui.ParseCredentials(text)
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "secret")
	}
}
