package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const (
	oldestServer = 15
	newestServer = 18
)

func (e *examination) server(ctx context.Context, tx pgx.Tx) (Check, error) {
	var number int
	var version string
	var standby, readOnly bool
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version_num')::integer, pg_catalog.current_setting('server_version'),
			pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_read_only')::boolean`).Scan(&number, &version, &standby, &readOnly)
	switch major := number / 10_000; {
	case err != nil:
		return Check{}, err
	case major < oldestServer:
		return failed("this is PostgreSQL %s, and iuworker needs %d to %d", version, oldestServer, newestServer).
			so("upgrade the server"), nil
	case standby:
		return failed("this server is a standby: nothing can be written").so("pass the address of the primary, or promote this server"), nil
	case readOnly:
		return failed("sessions of this login are read-only by default").
			so("pass the address of the primary, or reset default_transaction_read_only"), nil
	case major > newestServer:
		return warn("this is PostgreSQL %s, and iuworker is tested on %d to %d", version, oldestServer, newestServer).
			so("check for a newer iuworker"), nil
	}
	return fine("PostgreSQL %s, a primary", version), nil
}
