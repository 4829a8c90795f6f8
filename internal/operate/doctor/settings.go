package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/operate"
)

// roleSetting is a setting that the sessions of a login begin with: ALTER ROLE ... SET or ALTER DATABASE ... SET.
type roleSetting struct {
	Role     string // "": all
	Database bool   // of this database alone
	Name     string
	Value    string
	Number   float64 // the value in seconds if it is a length of time
}

// roleSettingsSQL reads the settings of all logins, of those with our roles that may connect to this database, and of this login.
const roleSettingsSQL = `
	SELECT COALESCE(r.rolname, '')::text, s.setdatabase <> 0, c.name, c.value, CASE
		WHEN c.value ~ '^\d+(\.\d+)? *(us|ms|s|min|h|d)?$' AND p.unit IN ('ms', 's', 'min') THEN
			COALESCE(EXTRACT(EPOCH FROM (pg_catalog.regexp_replace(c.value, '^([\d.]+).*$', '\1')
				|| ' ' || COALESCE(NULLIF(pg_catalog.regexp_replace(c.value, '^[\d. ]+', ''), ''), p.unit))::interval), 0)::double precision
		ELSE 0 END
	FROM pg_catalog.pg_db_role_setting AS s
	CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS e (entry)
	CROSS JOIN LATERAL (SELECT pg_catalog.split_part(e.entry, '=', 1) AS name,
		pg_catalog.substr(e.entry, pg_catalog.strpos(e.entry, '=') + 1) AS value) AS c
	LEFT JOIN pg_catalog.pg_settings AS p ON p.name = pg_catalog.lower(c.name)
	LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
	WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()))
	  AND (s.setrole = 0 OR r.rolname = CURRENT_USER OR r.rolcanlogin AND NOT r.rolsuper
	    AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT') AND EXISTS (
		SELECT FROM pg_catalog.pg_roles AS o
		WHERE o.rolname IN ` + names.RolesSQL + ` AND pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER')))
	ORDER BY s.setrole = 0, r.rolname, c.name
	LIMIT 1000`

// settingRule defines which values of a setting disturb other programs; the sessions of iuworker set what they need.
type settingRule struct {
	name   string
	wrong  func(roleSetting) bool
	result operate.Health
	then   string // what happens
}

// Settings without a rule, such as search_path, jit or DateStyle, change nothing that we depend on.
var settingRules = []settingRule{
	{"default_transaction_read_only", roleSetting.on, operate.HealthFail, "nothing can be inserted, composed or acknowledged"},
	{"session_replication_role", is("replica"), operate.HealthFail, "writes bypass triggers and foreign keys"},
	{"role", roleSetting.named, operate.HealthWarn, "its sessions have the privileges of that role instead of their own"},
	{"default_transaction_isolation", is("serializable", "repeatable read"), operate.HealthWarn,
		"concurrent transactions on the same rows fail with 40001, and the program must retry them"},
	{"synchronous_commit", is("off", "false", "no", "0"), operate.HealthWarn,
		"a crash of the server loses the latest commits, although the application was told that they are durable"},
	{"statement_timeout", below(1), operate.HealthWarn, cutOff},
	{"transaction_timeout", below(1), operate.HealthWarn, cutOff},
	{"lock_timeout", below(1), operate.HealthWarn, cutOff},
	{"idle_session_timeout", below(300), operate.HealthWarn, "sessions that LISTEN are ended while nothing is announced"},
	{"client_encoding", is("sql_ascii"), operate.HealthWarn, "text is stored without a check of its encoding"},
	{"standard_conforming_strings", roleSetting.off, operate.HealthWarn, "a backslash in a text literal is an escape: drivers refuse it, or quote wrongly"},
	{"row_security", roleSetting.off, operate.HealthWarn, "queries of tables with row security fail"},
}

const cutOff = "inserts and reads of events are cut off when the server is busy"

func is(values ...string) func(roleSetting) bool {
	return func(s roleSetting) bool { return slices.Contains(values, strings.ToLower(s.Value)) }
}

// below is for lengths of time, in seconds. 0 is no limit.
func below(seconds float64) func(roleSetting) bool {
	return func(s roleSetting) bool { return s.Number > 0 && s.Number < seconds }
}

func (s roleSetting) on() bool    { return is("on", "true", "yes", "1", "t", "y")(s) }
func (s roleSetting) off() bool   { return !s.on() }
func (s roleSetting) named() bool { return !is("none")(s) }

// whose returns what the setting is attached to, in the words of ALTER.
func (s roleSetting) whose(database string) string {
	database, role := pgx.Identifier{database}.Sanitize(), pgx.Identifier{s.Role}.Sanitize()
	switch {
	case s.Role == "" && s.Database:
		return "DATABASE " + database
	case s.Role == "":
		return "ROLE ALL"
	case s.Database:
		return "ROLE " + role + " IN DATABASE " + database
	}
	return "ROLE " + role
}

// settings finds defaults of the database and of our logins that disturb producers, subscribers and psql.
func (e *examination) settings(ctx context.Context, tx pgx.Tx) (Check, error) {
	set, err := structs[roleSetting](ctx, tx, roleSettingsSQL)
	if err != nil || len(set) == 0 {
		return fine("neither the database nor iuworker's logins have settings of their own"), err
	}
	found := fine("%s for logins or the database, all harmless", operate.Plural(len(set), "setting", "settings"))
	var next string
	for _, s := range set {
		for _, rule := range settingRules {
			if !strings.EqualFold(rule.name, s.Name) || !rule.wrong(s) {
				continue
			}
			whose := s.whose(e.database)
			if found.add(rule.result, fmt.Sprintf("%s SET %s = %.40s: %s", whose, s.Name, s.Value, rule.then)) {
				next = psql("ALTER " + whose + " RESET " + s.Name)
			}
		}
	}
	if len(found.Details) == 0 {
		return found, nil
	}
	found.Says = operate.Plural(len(found.Details), "setting", "settings") + " of logins or of the database would disturb programs that insert or read events"
	return found.with(found.Details).so("reset it, and reconnect those sessions; iuworker's own sessions set what they need", next), nil
}
