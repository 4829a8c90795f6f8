package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	iusql "github.com/iu-core/iuworker/sql"
)

// expectedTriggers are those through which events pass, by table.
var expectedTriggers = iusql.Triggers()

// triggers checks that each is there and always fires: without one, doorbells, emissions or dead letters are lost silently.
func (e *examination) triggers(ctx context.Context, tx pgx.Tx) (Check, error) {
	missing, err := texts(ctx, tx, `
		SELECT w.name || CASE WHEN g.tgname IS NULL THEN ' is missing' WHEN g.tgenabled = 'D' THEN ' is disabled'
			ELSE ' does not fire always' END
		FROM pg_catalog.unnest($1::text[]) AS w (name)
		LEFT JOIN (
			SELECT n.nspname || '.' || c.relname || ': ' || t.tgname AS name, t.tgname, t.tgenabled
			FROM pg_catalog.pg_trigger AS t
			JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
			JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE NOT t.tgisinternal
		) AS g ON g.name = w.name
		WHERE g.tgname IS NULL OR g.tgenabled <> 'A'
		ORDER BY 1`, expectedTriggers)
	if err != nil {
		return Check{}, err
	}
	if len(missing) > 0 {
		commands := []string{psql("UPDATE iu_outbox.schema_info SET functions_hash = ''"), migrateUp}
		if !strings.HasSuffix(missing[0], " is missing") {
			table, rest, _ := strings.Cut(missing[0], ": ")
			trigger, _, _ := strings.Cut(rest, " ")
			commands = []string{psql(fmt.Sprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, trigger))}
		}
		return failed("%s disabled or missing: notifications, emissions or dead letters get lost",
			operate.Plural(len(missing), "trigger is", "triggers are")).
			with(missing).so("enable or reinstall it, then look for what was lost", append(commands, "iuworker verify")...), nil
	}
	var role string
	err = tx.QueryRow(ctx, "SELECT pg_catalog.current_setting('session_replication_role')").Scan(&role)
	if err == nil && role != "origin" {
		return failed("this login has session_replication_role = %s: no trigger fires for what it writes", role).
			so("reset it for this login or database", psql("ALTER ROLE "+pgx.Identifier{e.cfg.Pool.Config().ConnConfig.User}.Sanitize()+
				" RESET session_replication_role")), nil
	}
	return fine("all %d are present and always enabled", len(expectedTriggers)), err
}
