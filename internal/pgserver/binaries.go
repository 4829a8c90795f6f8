package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
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

const (
	downloadVersion = embeddedpostgres.V18
	downloadTimeout = 5 * time.Minute
)

// download says where binaries come from and go to. Only tests change its zero value.
type download struct {
	repository string // default: embedded-postgres's own
	directory  string // default: cacheDirectory
}

// fetch returns the directory of the downloaded binaries, and downloads them if necessary. Programs that start at the same time
// download once.
func (d download) fetch(ctx context.Context, logger *slog.Logger, as *account) (string, error) {
	directory, err := d.cacheDirectory(as)
	if err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(directory, "download.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("lock the cache directory: %w", err)
	}
	defer lock.Close() //nolint:errcheck // nothing was written to it
	if !poll(ctx, func() bool { return tryLock(lock) }) {
		return "", fmt.Errorf("wait for another program's download: %w", ctx.Err())
	}

	tree := filepath.Join(directory, "postgresql-"+string(downloadVersion))
	bin := filepath.Join(tree, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	logger.InfoContext(ctx, "Postgres: downloading, none was found on this machine", "version", string(downloadVersion))
	if err := d.extract(ctx, directory, tree, as); err != nil {
		return "", fmt.Errorf("download PostgreSQL %s: %w", downloadVersion, err)
	}
	return bin, nil
}

// cacheDirectory returns a directory that is kept between runs. Root's own cache lies in root's home, which the server's account
// cannot enter.
func (d download) cacheDirectory(as *account) (string, error) {
	directory := d.directory
	switch {
	case directory != "":
	case as != nil:
		directory = "/var/cache/iuworker"
	default:
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find this user's cache directory: %w", err)
		}
		directory = filepath.Join(cache, "iuworker")
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return "", fmt.Errorf("create the cache directory: %w", err)
	}
	return directory, nil
}

// extract downloads into a temporary directory and renames it, so that the tree is whole or absent.
func (d download) extract(ctx context.Context, directory, tree string, as *account) error {
	scratch, err := os.MkdirTemp(directory, "download-")
	if err != nil {
		return fmt.Errorf("create a directory for it: %w", err)
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what stays is harmless

	extracted := filepath.Join(scratch, "tree")
	if err := d.run(ctx, scratch, extracted); err != nil {
		return err
	}
	if as != nil {
		if err := openToAll(extracted); err != nil {
			return err
		}
	}
	return os.Rename(extracted, tree)
}

// run makes embedded-postgres download and extract. It does so only before it starts a server, which must not happen here: the
// server would run as root. Therefore the data directory lies below a file, so that the start fails once the binaries are there.
func (d download) run(ctx context.Context, scratch, extracted string) error {
	file := filepath.Join(scratch, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return fmt.Errorf("prepare the download: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	config := embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		Port(uint32(port)).
		CachePath(filepath.Join(scratch, "archive")).
		RuntimePath(filepath.Join(scratch, "runtime")).
		BinariesPath(extracted).
		DataPath(filepath.Join(file, "data")).
		Logger(nil)
	if d.repository != "" {
		config = config.BinaryRepositoryURL(d.repository)
	}

	// The library takes no context. A download that hangs ends with the program.
	ended := make(chan error, 1)
	go func() { ended <- embeddedpostgres.NewDatabase(config).Start() }()
	ctx, cancel := context.WithTimeoutCause(ctx, downloadTimeout, fmt.Errorf("it took longer than %s", downloadTimeout))
	defer cancel()
	select {
	case err = <-ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, statErr := os.Stat(filepath.Join(extracted, "bin", "postgres")); statErr == nil {
		return nil
	}
	if err == nil {
		err = errors.New("the archive holds no postgres")
	}
	return err
}

// openToAll lets the server's account use a tree that root extracted, whatever root's umask.
func openToAll(tree string) error {
	return filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}
