package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const oldestSupported, newestSupported = 15, 18 // major versions

// installations are the directories of PostgreSQL packages.
var installations = []string{
	"/usr/lib/postgresql/*/bin",         // Debian
	"/usr/pgsql-*/bin",                  // RHEL
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew on ARM
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
}

// findBinaries returns the directory of the binaries to run, downloading them if there are none.
func findBinaries(ctx context.Context, cfg Config, as *account) (string, error) {
	if cfg.BinDir != "" {
		if _, err := usable(ctx, cfg.BinDir, as); err != nil {
			return "", fmt.Errorf("use the PostgreSQL of %s: %w", cfg.BinDir, err)
		}
		return cfg.BinDir, nil
	}
	found, rejected := installed(ctx, as)
	if found != "" {
		return found, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err // it ended the search early: PostgreSQL may be installed
	}
	downloaded, err := cfg.download.fetch(ctx, cfg.Logger, as)
	if err == nil {
		_, err = usable(ctx, downloaded, as)
	}
	if err != nil {
		return "", missing(rejected, err)
	}
	return downloaded, nil
}

// Find returns the directory of a supported PostgreSQL that is installed on this machine, or "".
func Find(ctx context.Context) string {
	as, err := serverAccount()
	if err != nil {
		return ""
	}
	found, _ := installed(ctx, as)
	return found
}

// installed returns the first usable directory, and why those before it are not usable.
func installed(ctx context.Context, as *account) (found string, rejected []error) {
	for _, dir := range candidates(ctx) {
		_, err := usable(ctx, dir, as)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			rejected = append(rejected, fmt.Errorf("%s: %w", dir, err))
		}
	}
	return "", rejected
}

func candidates(ctx context.Context) []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range installations {
		matches, _ := filepath.Glob(pattern) // the patterns are constants, and well-formed
		slices.SortStableFunc(matches, func(a, b string) int { return versionIn(b) - versionIn(a) })
		dirs = append(dirs, matches...)
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

// versionIn returns the first number in a path or in the output of postgres --version, or 0.
func versionIn(text string) int {
	version, _ := strconv.Atoi(digits.FindString(text))
	return version
}

// usable returns the major version of the binaries in dir, or why they cannot be used.
func usable(ctx context.Context, dir string, as *account) (int, error) {
	for _, name := range []string{"postgres", "initdb"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			return 0, err
		}
		if err := as.reaches(path); err != nil {
			return 0, err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Dir, cmd.SysProcAttr = "/", as.attributes()
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("ask postgres for its version: %w", err)
	}
	version := versionIn(string(out))
	if version < oldestSupported || version > newestSupported {
		return 0, fmt.Errorf("it is %s; supported are PostgreSQL %d to %d",
			strings.TrimSpace(string(out)), oldestSupported, newestSupported)
	}
	return version, nil
}

// missing returns the error for a machine without PostgreSQL.
func missing(rejected []error, download error) error {
	install := "install your distribution's PostgreSQL server package"
	if _, err := exec.LookPath("apt-get"); err == nil {
		install = "apt-get install postgresql"
	} else if runtime.GOOS == "darwin" {
		install = "brew install postgresql@18"
	}
	found := "no PostgreSQL found"
	if len(rejected) > 0 {
		found = "no usable PostgreSQL found (" + errors.Join(rejected...).Error() + ")"
	}
	return fmt.Errorf("%s and none could be downloaded: %s, or give the URL of a database (%w)", found, install, download)
}
