package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/conformance"
)

func (e *examination) conformance(ctx context.Context, tx pgx.Tx) (Check, error) {
	report, err := conformance.Scan(ctx, tx)
	if err != nil || report.Passed() {
		return fine("D9: %s, %s", report.Verdict, report.Core), err
	}
	var details []string
	for _, object := range report.Objects {
		if object.Result == conformance.Fail {
			details = append(details, strings.TrimSpace(fmt.Sprintf("%s %s: %s", object.Class, object.Name, object.Note)))
		}
	}
	return failed("D9: %s, %s", report.Verdict, report.Core).with(details).
		so("iu-core is not as expected: "+migrateUp+" creates what is missing, or a backup has it", "iuworker conformance"), nil
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
