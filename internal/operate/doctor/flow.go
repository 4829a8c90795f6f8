package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func (e *examination) gates(ctx context.Context, tx pgx.Tx) (Check, error) {
	gates, err := operate.Gates(ctx, tx)
	closed := slices.DeleteFunc(gates, func(g operate.Gate) bool { return g.Open })
	if err != nil || len(closed) == 0 {
		return fine("both are open"), err
	}
	details := lines(closed, func(g operate.Gate) string {
		detail := fmt.Sprintf("%s (%s)", g.Gate, g.Key)
		if g.UpdatedBy != nil && g.UpdatedAt != nil {
			detail += fmt.Sprintf(", by %s at %s", *g.UpdatedBy, g.UpdatedAt.UTC().Format("2006-01-02 15:04:05Z"))
		}
		return detail
	})
	wayOut := "open them unless they were closed deliberately"
	if len(closed) == 1 {
		wayOut = "open it unless it was closed deliberately"
	}
	return warn("%s closed; jobs are parked (nothing is lost)", operate.Plural(len(closed), "gate is", "gates are")).with(details).
		so(wayOut, lines(closed, func(g operate.Gate) string { return g.Gate.OpenCommand() })...), nil
}

// overlooked is a number of jobs that are parked behind an open gate.
type overlooked struct {
	Gate compose.Gate
	Jobs int64
}

const overlookedSQL = `
		SELECT g.gate, n.n
		FROM iu_outbox.gate_status() AS g
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS n FROM (SELECT FROM iu_outbox.parked_jobs(g.gate) LIMIT $1) AS j) AS n
		WHERE g.open AND iu_outbox.gate_open('iu_core.composer_enabled') AND n.n > 0
		  AND COALESCE(g.updated_at, '-infinity') < pg_catalog.clock_timestamp() - interval '10 seconds'`

// parked checks that parked jobs run again when their gate opens.
func (e *examination) parked(ctx context.Context, tx pgx.Tx) (Check, error) {
	found, err := structs[overlooked](ctx, tx, overlookedSQL, operate.CountLimit+1)
	if err != nil || len(found) == 0 {
		return fine("no job is parked behind an open gate"), err
	}
	if !retry.Pause(ctx, 2*again) { // longer than a sweep
		return Check{}, ctx.Err()
	}
	later, err := structs[overlooked](ctx, tx, overlookedSQL, operate.CountLimit+1)
	for i := range min(len(found), len(later)) {
		if found[i].Gate == later[i].Gate && later[i].Jobs >= found[i].Jobs {
			return failed("%s parked for the gate %s, which is open, and their number does not fall",
				operate.Counted(later[i].Jobs).Of("job is", "jobs are"), later[i].Gate).
				so("workers resume them every two seconds: "+restart, "iuworker status"), nil
		}
	}
	return fine("parked jobs whose gate is open are being resumed"), err
}

func (e *examination) workers(ctx context.Context, tx pgx.Tx) (Check, error) {
	silent, err := status.Workers(ctx, tx, 1000)
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

// strangers finds sessions that hold advisory locks of the workers without the role iu_worker. A producer's shared lock on a
// doorbell is expected until it commits.
func (e *examination) strangers(ctx context.Context, tx pgx.Tx) (Check, error) {
	holders, err := structs[lockHolder](ctx, tx, `
		SELECT h.pid, h.login, h.application_name, pg_catalog.string_agg(pg_catalog.format('(%s, %s)', h.class, h.key), ', ' ORDER BY h.class, h.key)
		FROM iu_outbox.lock_holder AS h
		JOIN pg_catalog.pg_stat_activity AS a ON a.pid = h.pid
		WHERE NOT h.may_work
		  AND (NOT h.shared OR a.xact_start IS NULL OR a.xact_start < pg_catalog.clock_timestamp() - interval '10 seconds')
		GROUP BY h.pid, h.login, h.application_name
		ORDER BY h.pid`)
	if err != nil || len(holders) == 0 {
		return fine(""), err
	}
	return warn("%s advisory locks of the workers without the role iu_worker: workers poll instead",
		operate.Plural(len(holders), "session holds", "sessions hold")).
		with(lines(holders, func(h lockHolder) string {
			return fmt.Sprintf("pid %d, user %s, %s: %s", h.PID, h.Login, orUnnamed(h.Application), h.Locks)
		})).so("end the session, as an administrator", terminate(holders[0].PID)), nil
}

func (e *examination) consumers(ctx context.Context, tx pgx.Tx) (Check, error) {
	all, err := subscribe.ListConsumers(ctx, tx)
	if err != nil || len(all) == 0 {
		return fine("no durable consumers"), err
	}
	found := fine("%s up to date", operate.Plural(len(all), "consumer is", "consumers are"))
	for _, c := range all {
		result, says := status.JudgeConsumer(c)
		found.add(result, fmt.Sprintf("%.60s: %s", c.Name, says))
	}
	if len(found.Details) == 0 {
		return found, nil
	}
	needing := "need"
	if len(found.Details) == 1 {
		needing = "needs"
	}
	found.Says = fmt.Sprintf("%d of %d consumers %s attention", len(found.Details), len(all), needing)
	return found.with(found.Details).so("check that their programs run; to set a lost position, run: iuworker consumers reset NAME --to CURSOR",
		"iuworker consumers"), nil
}

func (e *examination) eventType(ctx context.Context, tx pgx.Tx) (Check, error) {
	var active bool
	err := tx.QueryRow(ctx, "SELECT COALESCE(r.active, false) FROM public.event_type_registry AS r WHERE r.event_type = $1", names.EventType).Scan(&active)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return failed("the registry has no row %s: emissions are held back", names.EventType).so("insert it again, as migration 033 did",
			psql(fmt.Sprintf("INSERT INTO event_type_registry (event_type, event_stream, delivery_lane, active) VALUES (%s, 'update', 'delayed', true)",
				literal(names.EventType)))), nil
	case err == nil && !active:
		return failed("the registry row %s is not active: emissions are held back", names.EventType).so("activate it unless it was deactivated deliberately",
			psql("UPDATE event_type_registry SET active = true WHERE event_type = "+literal(names.EventType))), nil
	}
	return fine("%s is registered and active", names.EventType), err
}

// route checks that no route is attached to the event type: programs that want these events subscribe.
func (e *examination) route(ctx context.Context, tx pgx.Tx) (Check, error) {
	routes, err := texts(ctx, tx, `
		SELECT pg_catalog.to_jsonb(r)::text FROM public.event_route AS r WHERE r.event_type = $1 LIMIT 10`, names.EventType)
	if err != nil || len(routes) == 0 {
		return fine("no route is attached to %s", names.EventType), err
	}
	return failed("%s attached to %s, which is forbidden", operate.Plural(len(routes), "route is", "routes are"), names.EventType).with(routes).
		so("find out who attached it, and delete it: programs that want these events subscribe",
			psql("DELETE FROM event_route WHERE event_type = "+literal(names.EventType))), nil
}
