package operate

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A grant is a privilege that one of the roles has.
type grant struct{ role, privilege, schema, name string }

// What working and operating cannot do without. A name with an argument list's bracket is a function.
var grants = []grant{
	{"iu_worker", "SELECT", "iu_outbox", "event"},
	{"iu_worker", "EXECUTE", "iu_outbox", "claim()"},
	{"iu_worker", "EXECUTE", "iu_outbox", "compose_batch()"},
	{"iu_worker", "EXECUTE", "public", "fn_iu_auto_instantiate_from_event()"},
	{"iu_worker", "EXECUTE", "iu_outbox", "emit()"},
	{"iu_worker", "EXECUTE", "iu_outbox", "resume_parked()"},
	{"iu_worker", "EXECUTE", "iu_outbox", "release_jobs()"},
	{"iu_worker", "EXECUTE", "iu_outbox", "fence()"},
	{"iu_worker", "EXECUTE", "iu_outbox", "bury()"},
	{"iu_worker", "SELECT", "iu_outbox", "emission"},
	{"iu_worker", "INSERT", "iu_outbox", "worker"},
	{"iu_worker", "UPDATE", "iu_outbox", "worker"},
	{"iu_worker", "DELETE", "iu_outbox", "worker"},
	{"iu_worker", "SELECT", "iu_river", "river_job"},
	{"iu_worker", "INSERT", "iu_river", "river_job"},
	{"iu_worker", "UPDATE", "iu_river", "river_job"},
	{"iu_worker", "DELETE", "iu_river", "river_job"},
	{"iu_operator", "EXECUTE", "iu_outbox", "gate_status()"},
	{"iu_operator", "EXECUTE", "iu_outbox", "set_gate()"},
	{"iu_operator", "EXECUTE", "iu_outbox", "retry_dead_letters()"},
	{"iu_operator", "EXECUTE", "iu_outbox", "drop_dead_letters()"},
	{"iu_operator", "EXECUTE", "iu_outbox", "event_state()"},
	{"iu_operator", "EXECUTE", "public", "fn_iu_auto_instantiate_rollback_by_actor()"},
	{"iu_operator", "SELECT", "iu_outbox", "dead_letter"},
	{"iu_operator", "SELECT", "iu_outbox", "consumer_status"},
	{"iu_operator", "SELECT", "iu_river", "river_job"},
	{"iu_operator", "SELECT", "public", "iu_auto_instantiate_event_log"},
}

const lackedSQL = `
	SELECT w.role, w.privilege || ' on ' || w.schema || '.' || w.name
	FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]))
		WITH ORDINALITY AS w (role, privilege, schema, name, n)
	JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
	WHERE NOT COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND CASE WHEN w.privilege = 'EXECUTE'
		THEN (SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) FROM pg_catalog.pg_proc AS p
		      WHERE p.pronamespace = n.oid AND p.proname || '()' = w.name)
		ELSE (SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, w.privilege)) FROM pg_catalog.pg_class AS c
		      WHERE c.relnamespace = n.oid AND c.relname = w.name) END, false)
	ORDER BY w.n`

// privileges says what this login may do: work, operate, both, or neither.
func (e *examination) privileges(ctx context.Context) (DoctorCheck, error) {
	var login string
	member := map[string]bool{}
	lacks := map[string][]string{}
	err := e.read(ctx, func(tx pgx.Tx) error {
		var worker, operator bool
		err := tx.QueryRow(ctx, `
			SELECT CURRENT_USER,
				COALESCE((SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'iu_worker'), false),
				COALESCE((SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles AS r WHERE r.rolname = 'iu_operator'), false)`).
			Scan(&login, &worker, &operator)
		if err != nil {
			return err
		}
		member["iu_worker"], member["iu_operator"] = worker, operator
		columns := make([][]string, 4)
		for _, g := range grants {
			for i, value := range []string{g.role, g.privilege, g.schema, g.name} {
				columns[i] = append(columns[i], value)
			}
		}
		rows, err := tx.Query(ctx, lackedSQL, columns[0], columns[1], columns[2], columns[3])
		if err != nil {
			return err
		}
		var role, what string
		_, err = pgx.ForEachRow(rows, []any{&role, &what}, func() error {
			lacks[role] = append(lacks[role], what)
			return nil
		})
		return err
	})
	if err != nil {
		return DoctorCheck{}, err
	}
	return judgePrivileges(login, member, lacks), nil
}

func judgePrivileges(login string, member map[string]bool, lacks map[string][]string) DoctorCheck {
	for _, role := range []string{"iu_worker", "iu_operator"} {
		if member[role] && len(lacks[role]) > 0 {
			return failed("user %s has the role %s, which lacks %s", login, role, counts(len(lacks[role]), "privilege", "privileges")).
				with(lacks[role]).so("grant them again, as the owner of the schema", reinstall)
		}
	}
	grantTo := func(role string) string {
		return psql(fmt.Sprintf("GRANT %s TO %s", role, pgx.Identifier{login}.Sanitize()))
	}
	switch works, operates := len(lacks["iu_worker"]) == 0, len(lacks["iu_operator"]) == 0; {
	case works && operates:
		return fine("user %s may work and operate", login)
	case works:
		return fine("user %s may work (iu_worker), and not operate", login)
	case operates:
		return fine("user %s may operate (iu_operator), and not work: workers need a login of their own", login)
	}
	return failed("user %s may neither work nor operate", login).
		with([]string{strings.Join(lacks["iu_operator"], ", ")}).
		so("use a login that has iu_worker or iu_operator, or let an administrator grant one", grantTo("iu_operator"))
}
