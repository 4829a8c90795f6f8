package check

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// packaged are the files of both packages, with their modes.
var packaged = map[string]string{
	"/etc/iuworker":                            "drwxr-x---",
	"/etc/iuworker/iuworker.env":               "-rw-r-----",
	"/usr/bin/iuworker":                        "-rwxr-xr-x",
	"/usr/lib/systemd/system/iuworker.service": "-rw-r--r--",
	"/usr/lib/sysusers.d/iuworker.conf":        "-rw-r--r--",
	"/usr/share/doc/iuworker/copyright":        "-rw-r--r--",
}

// built returns the file that "make packages" made, or skips the test.
func built(t *testing.T, pattern string) string {
	t.Helper()
	dir := os.Getenv("PACKAGES")
	if dir == "" {
		t.Skip("make packages builds the packages first")
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.Len(t, files, 1, "%s in %s", pattern, dir)
	return files[0]
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// listed reads the lines of dpkg-deb -c and of rpm -qplv: mode, owner, and the path at the end.
func listed(list string) (files map[string]string) {
	files = map[string]string{}
	for line := range strings.Lines(list) {
		if words := strings.Fields(line); len(words) > 4 {
			files["/"+strings.Trim(words[len(words)-1], "./")] = words[0]
		}
	}
	return files
}

// The deb holds the binary, the unit, the user and the settings, which an upgrade keeps.
func TestDeb(t *testing.T) {
	t.Parallel()
	deb := built(t, "*.deb")
	files := listed(output(t, "dpkg-deb", "--contents", deb))
	for name, mode := range packaged {
		require.Equal(t, mode, files[name], name)
		delete(files, name)
	}
	for name, mode := range files {
		require.Equal(t, "drwxr-xr-x", mode, "only directories besides: %s", name)
	}
	info := output(t, "dpkg-deb", "--info", deb)
	require.Contains(t, info, "Package: iuworker\n")
	require.Contains(t, info, "Description: Create instances from templates when applications insert events\n")
	require.Equal(t, "/etc/iuworker/iuworker.env\n", output(t, "dpkg-deb", "--info", deb, "conffiles"))
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		require.True(t, strings.HasPrefix(output(t, "dpkg-deb", "--info", deb, script), "#!/bin/sh\n"), script)
	}
}

// dpkg installs, upgrades, removes and purges the deb in a root of its own, and runs its scripts there.
func TestDebInstallsAndLeaves(t *testing.T) {
	t.Parallel()
	deb := built(t, "*.deb")
	if os.Getuid() != 0 {
		t.Skip("dpkg installs as root")
	}
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, file := range []string{"var/lib/dpkg/status", "etc/passwd", "etc/group"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, file), nil, 0o600))
	}
	dpkg := func(args ...string) {
		output(t, "dpkg", append([]string{"--root=" + root, "--force-script-chrootless"}, args...)...)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		return string(text)
	}
	settings := filepath.Join(root, filepath.FromSlash("etc/iuworker/iuworker.env"))

	dpkg("--install", deb)
	require.Regexp(t, `(?m)^iuworker:x:\d+:\d+:iuworker:/:/usr/sbin/nologin$`, read("etc/passwd"))
	require.NoFileExists(t, filepath.Join(root, filepath.FromSlash("etc/systemd/system/multi-user.target.wants/iuworker.service")), "it is not enabled")
	require.NoError(t, os.WriteFile(settings, []byte("IUWORKER_LOG_LEVEL=debug\n"), 0o640))
	dpkg("--install", deb)
	require.Equal(t, "IUWORKER_LOG_LEVEL=debug\n", read("etc/iuworker/iuworker.env"), "an upgrade keeps what the administrator wrote")
	output(t, "systemctl", "--root="+root, "enable", "iuworker.service")
	wanted := filepath.Join(root, filepath.FromSlash("etc/systemd/system/multi-user.target.wants"))
	links, err := os.ReadDir(wanted)
	require.NoError(t, err)
	require.Len(t, links, 1)
	dpkg("--remove", "iuworker")
	links, err = os.ReadDir(wanted)
	require.True(t, err == nil || os.IsNotExist(err), err)
	require.Empty(t, links, "no link to a unit that is gone")
	require.NoFileExists(t, filepath.Join(root, filepath.FromSlash("usr/bin/iuworker")))
	require.FileExists(t, settings)
	dpkg("--purge", "iuworker")
	require.NoFileExists(t, settings)
	require.Contains(t, read("etc/passwd"), "iuworker:", "files may belong to the user")
}

// The rpm holds the same.
func TestRpm(t *testing.T) {
	t.Parallel()
	rpm := built(t, "*.rpm")
	query := func(args ...string) string {
		return output(t, "rpm", append([]string{"--query", "--package", rpm}, args...)...)
	}
	require.Equal(t, packaged, listed(query("--list", "--verbose")))
	require.Equal(t, "/etc/iuworker/iuworker.env\n", query("--configfiles"))
	require.Regexp(t, `(?s)postinstall.*systemd-sysusers.*preuninstall.*systemctl disable.*postuninstall`, query("--scripts"))
}

// The archive, the checksums and the list of what the binary was built from are there, and the binary says its commit.
func TestReleaseFiles(t *testing.T) {
	t.Parallel()
	archive := built(t, "*.tar.gz")
	contents := output(t, "tar", "--list", "--file", archive)
	for _, name := range []string{"iuworker", "LICENSE", "README.md", "docs/deploy.md", "deploy/systemd/iuworker.service"} {
		require.Regexp(t, `(?m)^iuworker_[^/]+/`+regexp.QuoteMeta(name)+`$`, contents)
	}
	sums := output(t, "sh", "-c", `cd "$1" && sha256sum --check SHA256SUMS`, "sh", filepath.Dir(archive))
	for _, pattern := range []string{"*.tar.gz", "*.deb", "*.rpm", "*.cdx.json"} {
		require.Contains(t, sums, filepath.Base(built(t, pattern))+": OK\n")
	}

	text, err := os.ReadFile(built(t, "*.cdx.json"))
	require.NoError(t, err)
	var bill struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	require.NoError(t, json.Unmarshal(text, &bill))
	require.Equal(t, "CycloneDX", bill.BOMFormat)
	var names []string
	for _, component := range bill.Components {
		names = append(names, component.Name)
		require.NotEmpty(t, component.Version, component.Name)
	}
	require.Contains(t, names, "github.com/jackc/pgx/v5")
	require.Contains(t, names, "github.com/riverqueue/river")
	require.NotContains(t, names, "github.com/stretchr/testify", "what is linked, not what tests use")

	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the snapshot is for linux_amd64")
	}
	dir := t.TempDir()
	output(t, "dpkg-deb", "--extract", built(t, "*.deb"), dir)
	var version struct {
		Commit, Date string
		Release      bool
		Schema       int
	}
	require.NoError(t, json.Unmarshal([]byte(output(t, filepath.Join(dir, filepath.FromSlash("usr/bin/iuworker")), "version", "--json")), &version))
	require.Regexp(t, `^[0-9a-f]{7}$`, version.Commit)
	require.Regexp(t, `^\d{4}-\d\d-\d\d$`, version.Date)
	require.GreaterOrEqual(t, version.Schema, 36)
	require.False(t, version.Release, "a snapshot is no release")
}
