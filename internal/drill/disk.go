package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	diskRoom  = 16 << 20      // of the device, beyond the tables
	diskSpace = "drill_small" // name of the tablespace
)

// diskTables are tables in which each event needs a row: the outbox, and the log of what was composed.
var diskTables = []string{"iu_outbox.event", "public.iu_auto_instantiate_event_log"}

// smallDisk keeps the scenario from running where no small device can be mounted.
func smallDisk(ctx context.Context, d *drill) string {
	if reason := ownServer(ctx, d); reason != "" {
		return reason
	}
	dir := filepath.Join(d.dir, "disk")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server runs as another user
		return err.Error()
	}
	if err := mountSmall(dir, os.Getuid(), os.Getgid(), 1<<20); err != nil {
		return "no small device can be mounted: " + err.Error()
	}
	if err := unmount(dir); err != nil {
		return "a device cannot be unmounted: " + err.Error()
	}
	return ""
}

// fillDisk moves tables to a small device, fills it, and makes room again after a while.
func fillDisk(ctx context.Context, d *drill, rng *rand.Rand) (err error) {
	dir := filepath.Join(d.dir, "disk")
	if err := d.mountForServer(ctx, dir); err != nil {
		return &skippedError{err.Error()}
	}
	// The tables go back and the device goes away even if the drill is interrupted: a mount would stay.
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), openLimit)
		defer cancel()
		err = errors.Join(err, d.leaveDisk(ending), retryUnmount(ending, dir))
	}()
	if _, err := d.pool.Exec(ctx, fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", diskSpace, filepath.Join(dir, "space"))); err != nil {
		return fmt.Errorf("create a tablespace: %w", err)
	}
	if err := d.moveTables(ctx, diskSpace); err != nil {
		return err
	}
	filler := filepath.Join(dir, "filler")
	if err := fill(filler); err != nil {
		return fmt.Errorf("fill the device: %w", err)
	}
	d.pause(ctx, between(rng, 6*time.Second, 12*time.Second))
	return os.Remove(filler)
}

// mountForServer mounts a small device with a directory that the server's user owns.
func (d *drill) mountForServer(ctx context.Context, dir string) error {
	var data string
	var size int
	err := d.pool.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('data_directory'), pg_catalog.sum(pg_catalog.pg_table_size(t.name::regclass))
		FROM pg_catalog.unnest($1::text[]) AS t (name)`, diskTables).Scan(&data, &size)
	if err != nil {
		return err
	}
	uid, gid, err := ownerOf(data)
	if err != nil {
		return err
	}
	// The server's user must reach it.
	if err := os.Chmod(d.dir, 0o711); err != nil { //nolint:gosec // the files within are private
		return err
	}
	if err := mountSmall(dir, uid, gid, size+size/4+diskRoom); err != nil {
		return err
	}
	space := filepath.Join(dir, "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		return errors.Join(err, unmount(dir))
	}
	if err := os.Chown(space, uid, gid); err != nil {
		return errors.Join(err, unmount(dir))
	}
	return nil
}

func (d *drill) moveTables(ctx context.Context, to string) error {
	for _, table := range diskTables {
		if _, err := d.pool.Exec(ctx, fmt.Sprintf("ALTER TABLE %s SET TABLESPACE %s", table, to)); err != nil {
			return fmt.Errorf("move %s to another device: %w", table, err)
		}
	}
	return nil
}

// leaveDisk moves the tables back and drops the tablespace.
func (d *drill) leaveDisk(ctx context.Context) error {
	if err := d.moveTables(ctx, "pg_default"); err != nil {
		return err
	}
	for {
		_, err := d.pool.Exec(ctx, "DROP TABLESPACE IF EXISTS "+diskSpace)
		if err == nil || !retry.Pause(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

// fill writes a file until there is no space left.
func fill(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // its content does not matter
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); errors.Is(err, errNoSpace) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

// retryUnmount unmounts as soon as no process uses the device.
func retryUnmount(ctx context.Context, dir string) error {
	for {
		err := unmount(dir)
		if err == nil || !retry.Pause(ctx, 200*time.Millisecond) {
			return err
		}
	}
}
