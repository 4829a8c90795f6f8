package webui_test

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// mount writes a secret as Kubernetes does: name -> ..data/name, ..data -> a directory of this version.
func mount(t *testing.T, dir, version, name, text string) string {
	t.Helper()
	inside := filepath.Join(dir, "..2026_"+version)
	require.NoError(t, os.Mkdir(inside, 0o755))                                             //nolint:gosec // as Kubernetes does
	require.NoError(t, os.WriteFile(filepath.Join(inside, name), []byte(text), 0o644))      //nolint:gosec // as Kubernetes does
	require.NoError(t, os.Symlink(filepath.Base(inside), filepath.Join(dir, "..data_tmp"))) // the rename replaces it atomically
	require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(path); err != nil {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), path))
	}
	return path
}

func TestCredentialsAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := mount(t, dir, "1", "credentials", "viewer:vera:the first one\n")
	tokens := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(tokens, []byte("the-first-of-two-tokens"), 0o600))
	credentials, err := webui.ReadCredentials(path)
	require.NoError(t, err, "everybody may read what Kubernetes mounts")
	known, err := webui.ReadTokens(tokens)
	require.NoError(t, err)
	var log iutest.Log
	handler, _ := newHandler(t, func(cfg *webui.Config) {
		cfg.Credentials, cfg.EventsTokens, cfg.Logger = credentials, known, slog.New(slog.NewTextHandler(&log, nil))
	})
	signIn := func(password string) int {
		return serve(handler, http.MethodGet, "/assets/page.css", nil, as("vera", password)).Code
	}
	require.Equal(t, http.StatusOK, signIn("the first one"))
	mount(t, dir, "2", "credentials", "viewer:vera:the second one\n")
	iutest.Eventually(t, func() bool { return signIn("the second one") == http.StatusOK }, patience)
	require.Equal(t, http.StatusUnauthorized, signIn("the first one"))

	mount(t, dir, "3", "credentials", "viewer:vera\n")
	for range 3 {
		credentials.Reload()
		require.Equal(t, http.StatusOK, signIn("the second one"), "a broken file keeps what was read before")
	}
	require.Equal(t, 1, strings.Count(log.String(), "cannot be read again"), log.String())
	require.Contains(t, log.String(), "line 1: it must be role:user:password")
	mount(t, dir, "4", "credentials", "viewer:vera:the third one\n")
	credentials.Reload()
	require.Equal(t, http.StatusOK, signIn("the third one"))

	require.NoError(t, os.WriteFile(tokens, []byte("the-second-of-two-tokens"), 0o600))
	known.Reload()
	require.NotContains(t, log.String(), "the-second")
	require.Contains(t, log.String(), "the tokens were read again")
}

func TestMountedSecretsMustNotBeWritableByOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := mount(t, dir, "1", "credentials", "viewer:vera:long enough\n")
	require.NoError(t, os.Chmod(path, 0o666)) //nolint:gosec // this mode must be refused
	_, err := webui.ReadCredentials(path)
	require.ErrorContains(t, err, "may be read or changed by others (mode 0666)")
	for _, mode := range []os.FileMode{0o644, 0o444, 0o440, 0o400, 0o640} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = webui.ReadCredentials(path)
		require.NoError(t, err, mode)
	}
}
