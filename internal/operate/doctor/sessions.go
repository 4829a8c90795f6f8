package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// sessionRoom is how many sessions there may be, by each limit.
type sessionRoom struct {
	Used, UsedHere, UsedByLogin int // on the server, in this database, by this login
	Room                        int // on the server, for those who are not superusers
	Database, Login             int // limits of the database and of the login; -1: none
	Super, Reserved             bool
	Pooled                      bool // the server knows this session by another pid
}

// room returns the smallest limit and what counts against it.
func (r sessionRoom) room() (limit, used int, whose string) {
	limit, used, whose = r.Room, r.Used, "the server's max_connections"
	if r.Super {
		return limit, used, whose
	}
	if r.Database >= 0 && r.Database-r.UsedHere < limit-used {
		limit, used, whose = r.Database, r.UsedHere, "the connection limit of the database"
	}
	if r.Login >= 0 && r.Login-r.UsedByLogin < limit-used {
		limit, used, whose = r.Login, r.UsedByLogin, "the connection limit of this login"
	}
	return limit, used, whose
}

const sessionRoomSQL = `
	SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE a.datname = pg_catalog.current_database()),
		pg_catalog.count(*) FILTER (WHERE a.usename = SESSION_USER),
		pg_catalog.current_setting('max_connections')::integer
			- pg_catalog.current_setting('superuser_reserved_connections')::integer
			- CASE WHEN r.reserved THEN 0 ELSE COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::integer END,
		d.datconnlimit, r.rolconnlimit, r.rolsuper, r.reserved, pg_catalog.pg_backend_pid() <> $1::bigint
	FROM pg_catalog.pg_stat_activity AS a
	CROSS JOIN (SELECT d.datconnlimit FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) AS d
	CROSS JOIN (
		SELECT r.rolconnlimit, r.rolsuper, EXISTS (SELECT FROM pg_catalog.pg_roles AS u
			WHERE u.rolname = 'pg_use_reserved_connections' AND pg_catalog.pg_has_role(r.oid, u.oid, 'USAGE')) AS reserved
		FROM pg_catalog.pg_roles AS r WHERE r.rolname = SESSION_USER) AS r
	WHERE a.backend_type = 'client backend' OR a.backend_type IS NULL AND a.usename IS NOT NULL
	GROUP BY d.datconnlimit, r.rolconnlimit, r.rolsuper, r.reserved`

// readRoom reads how many sessions there may be, and are.
func readRoom(ctx context.Context, tx pgx.Tx) (sessionRoom, error) {
	rows, err := tx.Query(ctx, sessionRoomSQL, int(tx.Conn().PgConn().PID()))
	if err != nil {
		return sessionRoom{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[sessionRoom])
}

func (e *examination) sessions(ctx context.Context, tx pgx.Tx) (Check, error) {
	room, err := readRoom(ctx, tx)
	return judgeSessions(room), err
}

func judgeSessions(r sessionRoom) Check {
	limit, used, whose := r.room()
	says := fmt.Sprintf("%d of %d sessions are taken", used, limit)
	if r.Room != limit {
		says += " (" + whose + ")"
	}
	if r.Pooled {
		says += "; this address goes through a pooler, whose own limits only its console shows (SHOW POOLS)"
	}
	if used*100 < limit*80 {
		return fine("%s", says)
	}
	return wrong(used*100 >= limit*95, "%s", says).
		so("lower --pool-size of workers and the pools of applications, put a pooler in between, or raise the limit")
}

// besidesPool is how many sessions a worker opens at most outside its pool: to listen, for its locks, and to follow events
// for /v1/events.
const besidesPool = 3

// pool compares how many sessions the workers may open with how many the server allows.
func (e *examination) pool(ctx context.Context, tx pgx.Tx) (Check, error) {
	room, err := readRoom(ctx, tx)
	if err != nil {
		return Check{}, err
	}
	var workers int
	err = tx.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FROM iu_outbox.worker AS w
		WHERE w.seen_at > pg_catalog.clock_timestamp() - interval '1 minute'`).Scan(&workers)
	return judgePool(room, max(workers, 1), e.cfg.PoolSize), err
}

func judgePool(r sessionRoom, workers, size int) Check {
	r.Used, r.UsedHere, r.UsedByLogin = 0, 0, 0 // what may be opened is compared with all of the room
	limit, _, whose := r.room()
	need := workers * (size + besidesPool)
	says := fmt.Sprintf("%s with %d connections each, and %d more that listen or hold locks, may open %d sessions; %s allows %d",
		operate.Plural(workers, "worker", "workers"), size, besidesPool, need, whose, limit)
	switch {
	case r.Pooled:
		return fine("%s; a pooler is in between, and its pool is what counts", says)
	case need <= limit:
		return fine("%s", says)
	}
	next := ""
	if most := limit/workers - besidesPool; most >= 2 {
		next = fmt.Sprintf("iuworker work --pool-size %d", most)
	}
	return warn("%s", says).so("raise the limit, run fewer workers, or give each a smaller pool", next)
}
