// Package iusql holds the SQL files and migrates databases with them.
//
//	Up           preflight → iu_migration → 32 iu-core → 33 auto-instantiate → 34 iu_outbox → 35 iu_river → 36 shared database → functions
//	Print        the same as a script for psql
//	Down         takes versions away again, in one transaction
//	Status       what was applied when, created or adopted
//	CheckSchema  whether this program may work on a database
//
// A run is one connection that holds an advisory lock. Under that lock it reads the database, plans all steps (planUp,
// planDown), and names everything that prevents them before the first change. Each version is then one transaction
// together with goose's record of it. iu_migration.origin remembers what iuworker adopted, which it never drops. The functions,
// views and grants of iu_outbox are no version: they are installed
// again whenever they are not this program's. functions/grants.sql is the one list of grants.
//
// What happens then:
//
//	several runs at once                  one migrates, the others wait and find it done
//	a run is killed, or loses its server  the next one goes on after the last transaction
//	another session locks a table         the transaction is retried until Config.Wait is over: ErrBusy, and the session
//	objects missing, different, foreign   ErrConflict with all of them, nothing was changed
//	privileges missing                    ErrPrivileges with all of them, nothing was changed
//	a grant is missing or was given       Up grants and revokes again; ForeignGrants and MissingGrants name them
//	row security hides rows               ErrRowSecurity; Up switches it off for our tables first
//	a newer schema                        Up does nothing; CheckSchema follows its recorded minimum program version
//	rows that Down would lose             ErrNotEmpty with how many of each, nothing was changed; Config.Force
package iusql
