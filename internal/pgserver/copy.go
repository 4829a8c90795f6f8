package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// notCopied are the directories whose content a standby makes itself; it receives the WAL.
var notCopied = []string{
	"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans", "pg_wal",
}

// copyPrimary fills the data directory with a copy of the primary's, and makes it a standby's. It does what pg_basebackup does,
// which downloaded binaries lack. A slot keeps the WAL from the start of the copy on until the standby has received it.
func (s *Server) copyPrimary(ctx context.Context) error {
	err := s.cfg.primary.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)", s.name()); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "SELECT pg_catalog.pg_backup_start($1, fast => true)", s.name()); err != nil {
			return err
		}
		if err := s.copyData(ctx); err != nil {
			return err
		}
		var label string
		if err := conn.QueryRow(ctx, "SELECT labelfile FROM pg_catalog.pg_backup_stop(wait_for_archive => false)").Scan(&label); err != nil {
			return err
		}
		return s.makeStandby(label)
	})
	if err != nil {
		return fmt.Errorf("copy the primary: %w", err)
	}
	return nil
}

// copyData copies the files. os.Root refuses a link by which the server's account could make root read another file.
func (s *Server) copyData(ctx context.Context) error {
	if err := os.Mkdir(s.dir.data(), 0o700); err != nil {
		return err
	}
	if err := s.as.own(s.dir.data()); err != nil {
		return err
	}
	from, err := os.OpenRoot(s.cfg.primary.dir.data())
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // it was only read
	to, err := os.OpenRoot(s.dir.data())
	if err != nil {
		return err
	}
	defer to.Close() //nolint:errcheck // a directory has nothing to flush
	return fs.WalkDir(from.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist), name == ".":
			return nil // a running server removes files
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case strings.HasPrefix(entry.Name(), "pgsql_tmp") && entry.IsDir():
			return fs.SkipDir
		case entry.IsDir():
			err = s.makeDir(to, name)
		case entry.Type().IsRegular() && copied(name):
			err = s.copyFile(from, to, name)
		case entry.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s leads to elsewhere: a server with tablespaces cannot be copied", name)
		}
		return err
	})
}

// copied reports whether a file of the data directory belongs into a copy.
func copied(name string) bool {
	top, _, below := strings.Cut(name, "/")
	if below && slices.Contains(notCopied, top) {
		return false
	}
	return !slices.Contains([]string{"postmaster.pid", "postmaster.opts", "pg_internal.init"}, path.Base(name))
}

func (s *Server) makeDir(to *os.Root, name string) error {
	top, _, below := strings.Cut(name, "/")
	if below && top == "pg_replslot" { // a slot is its directory
		return fs.SkipDir
	}
	return errors.Join(to.Mkdir(name, 0o700), s.give(to, name))
}

func (s *Server) copyFile(from, to *os.Root, name string) error {
	in, err := from.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	out, err := to.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), s.give(to, name))
}

// makeStandby adds the files that make a copy a standby which starts at the label's checkpoint.
func (s *Server) makeStandby(label string) error {
	to, err := os.OpenRoot(s.dir.data())
	if err != nil {
		return err
	}
	defer to.Close() //nolint:errcheck // a directory has nothing to flush
	primary := s.cfg.primary
	// ALTER SYSTEM writes this file, too, and can therefore change both settings later.
	follow := fmt.Sprintf("\nprimary_conninfo = 'host=%s port=%d user=%s application_name=%s sslmode=disable'\nprimary_slot_name = '%s'\n",
		primary.host(), primary.port, superuser, s.name(), s.name())
	for name, text := range map[string]string{"backup_label": label, "standby.signal": "", "postgresql.auto.conf": follow} {
		file, err := to.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		_, err = file.WriteString(text)
		if err := errors.Join(err, file.Close(), s.give(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// give gives a file to the server's account.
func (s *Server) give(root *os.Root, name string) error {
	if s.as == nil {
		return nil
	}
	return root.Lchown(name, int(s.as.uid), int(s.as.gid))
}
