package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
)

func (e *examination) eventType(ctx context.Context) (Check, error) {
	var active bool
	err := e.row(ctx, []any{&active}, "SELECT COALESCE(r.active, false) FROM public.event_type_registry AS r WHERE r.event_type = $1", names.EventType)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return failed("the registry has no row %s: emissions are held back", names.EventType).so("insert it again, as migration 033 did",
			psql(fmt.Sprintf("INSERT INTO event_type_registry (event_type, event_stream, delivery_lane, active) VALUES (%s, 'update', 'delayed', true)",
				literal(names.EventType)))), nil
	case err != nil:
		return Check{}, err
	case !active:
		return failed("the registry row %s is not active: emissions are held back", names.EventType).so("activate it unless it was deactivated deliberately",
			psql("UPDATE event_type_registry SET active = true WHERE event_type = "+literal(names.EventType))), nil
	}
	return fine("%s is registered and active", names.EventType), nil
}

// route: none may be attached to the event type; subscribers come and ask.
func (e *examination) route(ctx context.Context) (Check, error) {
	routes, err := e.texts(ctx, `
		SELECT pg_catalog.to_jsonb(r)::text FROM public.event_route AS r WHERE r.event_type = $1 LIMIT 10`, names.EventType)
	if err != nil || len(routes) == 0 {
		return fine("no route is attached to %s", names.EventType), err
	}
	return failed("%s attached to %s, which is forbidden", operate.Plural(len(routes), "route is", "routes are"), names.EventType).with(routes).
		so("find out who attached it, and delete it: programs that want these events subscribe",
			psql("DELETE FROM event_route WHERE event_type = "+literal(names.EventType))), nil
}
