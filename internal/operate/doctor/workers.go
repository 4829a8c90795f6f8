package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
)

func (e *examination) workers(ctx context.Context) (Check, error) {
	workers, err := readAll[operate.WorkerStatus](ctx, e, `
		SELECT w.id, w.hostname, w.pid, w.version, w.started_at, w.seen_at,
			w.seen_at BETWEEN pg_catalog.clock_timestamp() - $1::interval AND pg_catalog.clock_timestamp() + $1::interval
		FROM iu_outbox.worker AS w
		ORDER BY w.started_at DESC, w.id
		LIMIT 1000`, operate.SilentAfter)
	if err != nil {
		return Check{}, err
	}
	var alive int
	var silent []string
	for _, w := range workers {
		if w.Alive {
			alive++
		} else {
			silent = append(silent, fmt.Sprintf("%s on %s, last seen at %s", w.ID, w.Hostname, w.SeenAt.UTC().Format("2006-01-02 15:04:05Z")))
		}
	}
	strangers, err := e.strangers(ctx)
	if err != nil {
		return Check{}, err
	}
	switch {
	case alive == 0:
		return failed("no worker is alive: nothing is composed").with(silent).so("start one", "iuworker work"), nil
	case strangers.Result != operate.HealthOK:
		return strangers, nil
	case len(silent) > 0:
		return warn("%s alive, and %s silent", operate.Plural(alive, "worker is", "workers are"), operate.Plural(len(silent), "is", "are")).with(silent).
			so("a dead worker disappears from this list within 30s; one that stays hangs, or cannot reach the database"), nil
	}
	return fine("%s alive", operate.Plural(alive, "worker is", "workers are")), nil
}

// strangers looks for logins that hold locks of ours and may not work. A producer that has just inserted holds a doorbell's
// shared, until it commits.
func (e *examination) strangers(ctx context.Context) (Check, error) {
	type holder struct {
		PID         int
		Login       string
		Application string
		Locks       string
	}
	holders, err := readAll[holder](ctx, e, `
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
	var details []string
	for _, h := range holders {
		details = append(details, fmt.Sprintf("pid %d, user %s, %s: %s", h.PID, h.Login, orUnnamed(h.Application), h.Locks))
	}
	return warn("%s advisory locks of the workers without the role iu_worker: workers poll instead",
		operate.Plural(len(holders), "session holds", "sessions hold")).with(details).
		so("end the session, as an administrator", psql(fmt.Sprintf("SELECT pg_terminate_backend(%d)", holders[0].PID))), nil
}
