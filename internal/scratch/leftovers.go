package scratch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
)

// lockClass is the first key of the advisory locks of scratch databases; the second is the number in the database's name.
const lockClass = 0x62656e63 // "benc"

// lock opens the session that holds the lock of the scratch database while the run lives. The lock is taken before the database
// exists, so that a database without a lock belongs to a run that was killed.
func (d *Database) lock(ctx context.Context, tag uint32) (err error) {
	if d.guard, err = pgx.ConnectConfig(ctx, d.server.ConnConfig); err != nil {
		return err
	}
	if _, err = d.guard.Exec(ctx, "SELECT pg_catalog.pg_advisory_lock($1, $2)", lockClass, int32(tag)); err != nil { //nolint:gosec // the bits count
		d.unlock(ctx)
	}
	return err
}

func (d *Database) unlock(ctx context.Context) {
	if d.guard != nil {
		_ = d.guard.Close(context.WithoutCancel(ctx)) // the server releases the lock in any case
	}
}

// killedSQL lists the scratch databases of killed runs. Locks of all databases are in pg_locks.
const killedSQL = `
	SELECT d.datname::text FROM pg_catalog.pg_database AS d
	WHERE d.datname ~ ('^' || $1 || '[0-9a-f]{8}$') AND NOT EXISTS (
		SELECT FROM pg_catalog.pg_locks AS l
		WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $2::bigint::oid AND l.objsubid = 2
		  AND d.datname = $1 || pg_catalog.lpad(pg_catalog.to_hex(l.objid::bigint), 8, '0'))
	ORDER BY 1`

// Sweep drops the scratch databases of runs that were killed. It returns a sentence with those that it cannot drop, since they
// belong to another login or are in use; "" if there are none.
func Sweep(ctx context.Context, server *pgxpool.Config, prefix string, logger *slog.Logger) (string, error) {
	var left []string
	err := On(server, "").onServer(ctx, func(conn *pgx.Conn) error {
		killed, err := operate.Collect(ctx, conn, pgx.RowTo[string], killedSQL, prefix, lockClass)
		if err != nil {
			return err
		}
		for _, name := range killed {
			err := drop(ctx, conn, name) // its programs may run on
			pgErr, refused := errors.AsType[*pgconn.PgError](err)
			switch {
			case err == nil:
				logger.InfoContext(ctx, "Scratch: dropped the database of a run that was killed", slog.String("database", name))
			case refused && (pgErr.Code == pgerrcode.InsufficientPrivilege || pgErr.Code == pgerrcode.ObjectInUse):
				left = append(left, name)
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("drop the databases of runs that were killed: %w", err)
	}
	if len(left) == 0 {
		return "", nil
	}
	return "Runs that were killed left databases behind, which are in use or belong to another login; to drop them, run: DROP DATABASE " +
		strings.Join(left, "; DROP DATABASE ") + ";", nil
}
