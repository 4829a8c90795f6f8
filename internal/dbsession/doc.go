// Package dbsession prepares every connection that this program opens: whatever a role, a database or the address has set, a
// session begins with the settings that our statements need.
//
//	Prepare       of a connection: one round trip after it was opened
//	PreparePool   of a pool: connections live 10 min at most, and are replaced if their server becomes read-only
//	ReadOnly      whether a connection leads to a read-only server, as far as the server has reported
//	Multiplexed   whether a transaction pooler is in between
//	WayOut        what to do about an error that is due to a pooler or a read-only server
//
// The startup packet has only the settings that poolers know: PgBouncer refuses a connection whose packet has more. The rest,
// and what the address asks for, is set once the connection is open. Behind a transaction pooler nothing is set, since the
// setting would stay in a session that others get; functions, triggers and transactions set what they need themselves.
//
//	setting                                        what protects from other values
//	client_encoding, DateStyle, TimeZone,          the startup packet, poolers included
//	standard_conforming_strings
//	search_path                                    session; statements are schema-qualified, functions have SET clauses
//	default_transaction_isolation, _deferrable     session; functions that need READ COMMITTED fail with 40001 and run again
//	default_transaction_read_only                  session, if set by a role or a database; a server's own is obeyed
//	session_replication_role                       session, an error if that is not allowed; triggers fire ALWAYS
//	row_security                                   session, off: a table whose rows are hidden is an error, not empty
//	array_nulls, transform_null_equals, ...        session
//	synchronous_commit                             session, if less than on: what is acknowledged is on disk
//	bytea_output, IntervalStyle, xmloption, ...    session; values are binary except in simple_protocol
//	*_timeout, tcp_keepalives_*, tcp_user_timeout  session; an address can override it
//	jit, enable_*, plan_cache_mode, ...            session; hot functions have SET clauses; an address can override it
//	plpgsql.extra_errors, plpgsql.extra_warnings   session; functions raise neither
//	plpgsql.variable_conflict                      none needed: functions compile under error
//	lc_*, geqo*, *_cost, work_mem, ...             none needed
//	role, tablespaces, access methods, ...         kept: the administrator's choice
//
//	failure                                        what happens
//	25006, a server that became read-only          the connection is closed, and the others of its pool before their next use
//	a setting that may not be set                  the connection fails, and the error names the setting
package dbsession
