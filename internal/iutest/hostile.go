package iutest

import (
	"fmt"
	"strings"
	"testing"
)

// HostileSettings are values that a role or a database may have for its sessions, and under which statements fail, wait,
// or do something else. A server that does not know one is not asked to.
var HostileSettings = map[string]string{
	"array_nulls":                         "off",
	"backslash_quote":                     "on",
	"bytea_output":                        "escape",
	"client_encoding":                     "SQL_ASCII",
	"client_min_messages":                 "error",
	"DateStyle":                           "German",
	"default_transaction_deferrable":      "on",
	"default_transaction_isolation":       "serializable",
	"default_transaction_read_only":       "on",
	"enable_indexscan":                    "off",
	"enable_nestloop":                     "off",
	"exit_on_error":                       "on",
	"extra_float_digits":                  "-15",
	"gin_fuzzy_search_limit":              "1",
	"idle_in_transaction_session_timeout": "0",
	"idle_session_timeout":                "1s",
	"IntervalStyle":                       "iso_8601",
	"jit":                                 "on",
	"lock_timeout":                        "1ms",
	"plan_cache_mode":                     "force_generic_plan",
	"plpgsql.extra_errors":                "all",
	"plpgsql.extra_warnings":              "all",
	"plpgsql.variable_conflict":           "use_variable",
	"quote_all_identifiers":               "on",
	"row_security":                        "on",
	"search_path":                         "nowhere",
	"session_replication_role":            "replica",
	"standard_conforming_strings":         "off",
	"statement_timeout":                   "20ms",
	"synchronous_commit":                  "off",
	"TimeZone":                            "Asia/Kathmandu",
	"transform_null_equals":               "on",
	"xmloption":                           "document",
}

// MakeHostile gives new sessions of a database all of HostileSettings, but those named.
func (db *DB) MakeHostile(t testing.TB, but ...string) {
	t.Helper()
	var sql strings.Builder
	for name, value := range HostileSettings {
		if !strings.Contains(" "+strings.Join(but, " ")+" ", " "+name+" ") {
			fmt.Fprintf(&sql, "ALTER DATABASE %s SET %s = '%s';\n", quote(db.Name), name, value)
		}
	}
	db.Exec(t, sql.String())
}
