// Package dbsession prepares every connection that this program opens: whatever a role, a database or the address has
// set, a session begins with the settings that our statements rely on.
//
//	Prepare       of a connection: one round trip after it was opened
//	PreparePool   of a pool: connections live 10 min at most, and none outlives a server that became read-only
//	ReadOnly      whether a connection leads to a server that takes no writes, as far as the server has reported
//	Multiplexed   whether a transaction pooler is in between
//	WayOut        what to do about an error that comes of a pooler, or of a read-only server
//
// Settings travel in three ways. Those that poolers know of are in the startup packet, and nothing else is: PgBouncer refuses
// a connection whose packet has more. The rest is set once the connection is there, together with what the address asks
// for, by name or as options. Behind a transaction pooler a session is not ours: nothing is set there, since the setting
// would stay with a connection that others get, and functions, triggers and transactions bring what they cannot do without.
//
//	setting                                        what keeps others' values from mattering
//	client_encoding, DateStyle, TimeZone,          the startup packet, poolers included
//	standard_conforming_strings
//	search_path                                    session; statements are schema-qualified, functions have SET clauses
//	default_transaction_isolation, _deferrable     session; functions that need READ COMMITTED fail with 40001 and run again
//	default_transaction_read_only                  session, if it is a role's or a database's; a server's own is obeyed
//	session_replication_role                       session, refused if that is not allowed; triggers fire ALWAYS
//	row_security                                   session, off: a table whose rows are hidden is an error, not empty
//	array_nulls, gin_fuzzy_search_limit,           session
//	exit_on_error, quote_all_identifiers,
//	transform_null_equals, backslash_quote, ...
//	synchronous_commit                             session, if it is less than on: what is acknowledged is on disk
//	bytea_output, IntervalStyle, extra_float_      session; values travel in binary but for simple_protocol
//	digits, xmloption
//	*_timeout, tcp_keepalives_*, tcp_user_timeout  session; an address may choose others
//	jit, enable_*, plan_cache_mode, ...            session; hot functions have SET clauses; an address may choose others
//	plpgsql.extra_errors, plpgsql.extra_warnings   session; functions raise neither
//	plpgsql.variable_conflict                      immune: functions compile under error, so that no name is ambiguous
//	check_function_bodies, escape_string_warning,  immune
//	constraint_exclusion, lc_*, geqo*, *_cost,
//	work_mem
//	role, default_tablespace, temp_tablespaces,    the administrator's choice, which is kept
//	default_table_access_method, session_preload_
//	libraries
//
//	failure                                        what happens then
//	25006, a server that became read-only          the connection is closed, and all others of its pool before their next use
//	a setting that may not be set                  the connection fails, and the error names the setting
package dbsession
