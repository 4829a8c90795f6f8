package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

func (e *examination) workers(ctx context.Context, tx pgx.Tx) (Check, error) {
	silent, err := structs[status.Worker](ctx, tx, `
		SELECT w.id, w.hostname, w.pid, w.version, w.started_at, w.seen_at,
			w.seen_at BETWEEN pg_catalog.clock_timestamp() - $1::interval AND pg_catalog.clock_timestamp() + $1::interval
		FROM iu_outbox.worker AS w
		ORDER BY w.started_at DESC, w.id
		LIMIT 1000`, operate.SilentAfter)
	if err != nil {
		return Check{}, err
	}
	all := len(silent)
	silent = slices.DeleteFunc(silent, func(w status.Worker) bool { return w.Alive })
	alive := all - len(silent)
	details := lines(silent, func(w status.Worker) string {
		return fmt.Sprintf("%s on %s, last seen at %s", w.ID, w.Hostname, w.SeenAt.UTC().Format("2006-01-02 15:04:05Z"))
	})
	if alive == 0 {
		return failed("no worker is alive: nothing is composed").with(details).so("start one", "iuworker work"), nil
	}
	if strangers, err := e.strangers(ctx, tx); err != nil || strangers.Result != operate.HealthOK {
		return strangers, err
	}
	if len(silent) > 0 {
		return warn("%s alive, and %s silent", operate.Plural(alive, "worker is", "workers are"), operate.Plural(len(silent), "is", "are")).with(details).
			so("a dead worker disappears from this list within 30s; one that stays hangs, or cannot reach the database"), nil
	}
	return fine("%s alive", operate.Plural(alive, "worker is", "workers are")), nil
}

type lockHolder struct {
	PID         int
	Login       string
	Application string
	Locks       string
}

// strangers looks for sessions that hold advisory locks of the workers without the role iu_worker. A producer holds a
// doorbell's, shared, until it commits.
func (e *examination) strangers(ctx context.Context, tx pgx.Tx) (Check, error) {
	holders, err := structs[lockHolder](ctx, tx, `
		SELECT h.pid, h.login, h.application_name, pg_catalog.string_agg(pg_catalog.format('(%s, %s)', h.class, h.key), ', ' ORDER BY h.class, h.key)
		FROM iu_outbox.lock_holder AS h
		JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid
		WHERE NOT h.may_work
		  AND (NOT h.shared OR a.xact_start IS NULL OR a.xact_start < pg_catalog.clock_timestamp() - $1::interval)
		GROUP BY h.pid, h.login, h.application_name
		ORDER BY h.pid`, operate.SilentAfter)
	if err != nil || len(holders) == 0 {
		return fine(""), err
	}
	return warn("%s advisory locks of the workers without the role iu_worker: workers poll instead",
		operate.Plural(len(holders), "session holds", "sessions hold")).
		with(lines(holders, func(h lockHolder) string {
			return fmt.Sprintf("pid %d, user %s, %s: %s", h.PID, h.Login, orUnnamed(h.Application), h.Locks)
		})).so("end the session, as an administrator", terminate(holders[0].PID)), nil
}
