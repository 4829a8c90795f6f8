package dbsession

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

type setting struct{ name, value string }

// packet are the settings of the startup packet: those that a pooler keeps for each client.
var packet = []setting{
	{"client_encoding", "UTF8"},
	{"DateStyle", "ISO, MDY"},
	{"TimeZone", "UTC"},
	{"standard_conforming_strings", "on"},
}

// required are the settings without which statements fail or do something else. An address cannot change them.
var required = []setting{
	{"search_path", "pg_catalog, public, pg_temp"}, // as in 033
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"row_security", "off"},
	{"array_nulls", "on"},
	{"backslash_quote", "safe_encoding"},
	{"bytea_output", "hex"},
	{"client_min_messages", "notice"},
	{"exit_on_error", "off"},
	{"extra_float_digits", "1"},
	{"gin_fuzzy_search_limit", "0"}, // above 0, an index on jsonb finds only some of the rows
	{"IntervalStyle", "postgres"},
	{"quote_all_identifiers", "off"},
	{"restrict_nonsystem_relation_kind", ""}, // views
	{"transform_null_equals", "off"},
	{"xmloption", "content"},
	{"plpgsql.extra_errors", "none"},
	{"plpgsql.extra_warnings", "none"},
}

// chosen are settings that an address can override. The server notices within about 20 s that a client's machine died: by
// keepalive probes while it waits for a statement, by the user timeout while it sends, and by the timeout of idle transactions.
var chosen = []setting{
	{"statement_timeout", "0"}, // contexts bound ours
	{"lock_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"idle_in_transaction_session_timeout", "20s"},
	{"tcp_keepalives_idle", "5"},
	{"tcp_keepalives_interval", "5"},
	{"tcp_keepalives_count", "3"},
	{"tcp_user_timeout", "20000"},
	{"jit", "off"},
	{"plan_cache_mode", "auto"},
	{"enable_bitmapscan", "on"},
	{"enable_hashagg", "on"},
	{"enable_hashjoin", "on"},
	{"enable_indexonlyscan", "on"},
	{"enable_indexscan", "on"},
	{"enable_material", "on"},
	{"enable_mergejoin", "on"},
	{"enable_nestloop", "on"},
	{"enable_seqscan", "on"},
	{"enable_sort", "on"},
}

// begin returns the statement that begins a session, if its server process is pid or pid is 0. A pooler greets with a number
// of its own; then nothing is set. Every name is qualified, since search_path may be hostile. The statement timeout is lifted
// for this transaction only. The transaction timeout, which PostgreSQL has from 17 on, is lifted next, since it runs already; an
// address can set another. Our settings that the server does not know are skipped; those of the address are errors.
func begin(pid uint32, address []setting) string {
	var rows []string
	add := func(settings []setting, asked bool) {
		for _, s := range settings {
			asked := asked || s.name == "statement_timeout" // its current value is that of this transaction
			rows = append(rows, fmt.Sprintf("(%d, %s, %s, %t)", len(rows), literal(s.name), literal(s.value), asked))
		}
	}
	isRole := func(s setting) bool { return strings.EqualFold(s.name, "role") }
	roles := slices.DeleteFunc(slices.Clone(address), func(s setting) bool { return !isRole(s) })
	add(chosen, false)
	add(slices.DeleteFunc(slices.Clone(address), isRole), true)
	add(required, false)
	add(roles, true) // last: the role may be allowed less than the login
	return fmt.Sprintf(beginSQL, pid, strings.Join(rows, ", "))
}

const beginSQL = `SET LOCAL statement_timeout = 0;
SELECT pg_catalog.pg_backend_pid();
SELECT pg_catalog.set_config('transaction_timeout', '0', false)
WHERE (%[1]d OPERATOR(pg_catalog.=) 0 OR pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %[1]d)
  AND pg_catalog.current_setting('transaction_timeout', true) OPERATOR(pg_catalog.<>) '0';
SELECT pg_catalog.set_config(s.name, s.value, false)
FROM (SELECT * FROM (VALUES %[2]s) AS v (n, name, value, asked) ORDER BY v.n OFFSET 0) AS s
WHERE (%[1]d OPERATOR(pg_catalog.=) 0 OR pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %[1]d)
  AND (s.asked OR pg_catalog.current_setting(s.name, true) OPERATOR(pg_catalog.<>) s.value);
SELECT pg_catalog.set_config(c.name, c.value, false)
FROM (VALUES
    -- What is acknowledged must be on disk. A stronger choice is kept.
    ('synchronous_commit', 'on', pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) ANY (ARRAY['off', 'local'])),
    -- Only that of a role or a database: a server that is itself read-only must be left.
    ('default_transaction_read_only', 'off',
     CASE WHEN pg_catalog.current_setting('default_transaction_read_only') OPERATOR(pg_catalog.=) 'on'
          THEN EXISTS (SELECT FROM pg_catalog.pg_settings AS g
                       WHERE g.name OPERATOR(pg_catalog.=) 'default_transaction_read_only'
                         AND g.source OPERATOR(pg_catalog.=) ANY (ARRAY['database', 'user', 'database user'])) END)
) AS c (name, value, wanted)
WHERE c.wanted AND (%[1]d OPERATOR(pg_catalog.=) 0 OR pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %[1]d)`

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// onlyAtStart are settings that a server accepts only in the startup packet.
var onlyAtStart = []string{
	"ignore_system_indexes", "jit_debugging_support", "jit_profiling_support", "log_connections", "log_disconnections",
	"post_auth_delay",
}

// strip leaves in a startup packet what poolers accept, and returns the other settings that the address asks for. The name of
// the application and the settings of onlyAtStart stay.
func strip(params map[string]string) (address []setting) {
	var asked []setting
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == "options" {
			asked = append(asked, parseOptions(params[name])...)
		} else {
			asked = append(asked, setting{name, params[name]})
		}
	}
	clear(params)
	for _, s := range asked {
		named := func(name string) bool { return strings.EqualFold(name, s.name) }
		switch {
		case named("application_name"), slices.ContainsFunc(onlyAtStart, named):
			params[s.name] = s.value
		case !slices.ContainsFunc(packet, func(p setting) bool { return named(p.name) }):
			address = append(address, s)
		}
	}
	for _, s := range packet {
		params[s.name] = s.value
	}
	return address
}

var (
	optionWord = regexp.MustCompile(`(?s)(?:\\.|[^ \t\n\r\v\f])+`) // a backslash keeps the next character
	escape     = regexp.MustCompile(`(?s)\\(.?)`)
)

// parseOptions returns the settings of command-line options as the server reads them: "-c name=value", "-cname=value" and
// "--name=value". Dashes in a name stand for underscores. Other options only apply to the server itself.
func parseOptions(options string) (found []setting) {
	words := optionWord.FindAllString(options, -1)
	for i, word := range words {
		words[i] = escape.ReplaceAllString(word, "$1")
	}
	for i := 0; i < len(words); i++ {
		text, ok := strings.CutPrefix(words[i], "--")
		if !ok {
			if text, ok = strings.CutPrefix(words[i], "-c"); !ok {
				continue
			}
			if text == "" && i+1 < len(words) {
				i++
				text = words[i]
			}
		}
		if name, value, ok := strings.Cut(text, "="); ok {
			found = append(found, setting{strings.ReplaceAll(strings.TrimSpace(name), "-", "_"), value})
		}
	}
	return found
}
