package doctor

import (
	"context"

	"github.com/iu-core/iuworker/internal/operate"
)

// payload tells what notifications carry, and to whom: every login of the database may LISTEN.
func (e *examination) payload(ctx context.Context) (Check, error) {
	var form string
	err := e.row(ctx, []any{&form}, "SELECT s.value FROM iu_outbox.settings() AS s WHERE s.name = $1", operate.SettingNotifyPayload)
	if err != nil {
		return Check{}, err
	}
	if form != operate.PayloadEvent {
		return fine("notifications carry the cursor alone"), nil
	}
	strangers, err := e.texts(ctx, `
		SELECT r.rolname::text FROM pg_catalog.pg_roles AS r
		WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname !~ '^pg_'
		  AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
		  AND NOT pg_catalog.has_table_privilege(r.oid, 'iu_outbox.emission', 'SELECT')
		ORDER BY r.rolname LIMIT 100`)
	if err != nil || len(strangers) == 0 {
		return fine("notifications carry whole events"), err
	}
	return fine("notifications carry whole events, and %s without another right to read them can listen; to hide them, run: iuworker settings set %s %s",
		operate.Plural(len(strangers), "login", "logins"), operate.SettingNotifyPayload, operate.PayloadCursor).with(strangers), nil
}
