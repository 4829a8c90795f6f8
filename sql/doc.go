// Package iusql holds the SQL files and migrates databases with them.
//
//	Up           preflight → iu_migration → 32 iu-core → 33 auto-instantiate → 34 iu_outbox → 35 iu_river → 36 shared database → functions
//	Print        the same as a script for psql
//	Down         removes versions, in one transaction
//	Status       what was applied when, created or adopted
//	CheckSchema  whether this program may work on a database
//
// A run uses one connection, which holds an advisory lock. Under that lock it reads the database, plans all steps
// (planUp, planDown), and reports everything that prevents them before the first change. Each version is then one
// transaction together with goose's record of it. iu_migration.origin records what iuworker adopted and therefore
// never drops. The functions, views and grants of iu_outbox have no version: Up installs them again if another
// program installed them. functions/grants.sql is the one list of grants.
//
// Failures and other events, and what happens then:
//
//	several runs at once                  one migrates; the others wait and find nothing to do
//	a run is killed, or loses its server  the next one goes on after the last transaction
//	another session locks a table         the transaction is retried until Config.Wait is over: ErrBusy, and the session
//	objects missing, different, foreign   ErrConflict with all of them, nothing was changed
//	privileges missing                    ErrPrivileges with all of them, nothing was changed
//	a grant is missing or not intended    Up grants or revokes it; MissingGrants and ForeignGrants list them
//	row security hides rows               ErrRowSecurity; Up switches it off for our tables first
//	a newer schema                        Up does nothing; CheckSchema follows its recorded minimum program version
//	rows that Down would lose             ErrNotEmpty with how many of each, nothing was changed; Config.Force
package iusql
