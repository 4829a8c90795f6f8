package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

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
