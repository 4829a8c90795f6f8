package doctor

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/operate"
)

// besidesPool is how many sessions a worker opens at most besides its pool: to listen, for its locks, and to follow
// events for /v1/events.
const besidesPool = 3

// pool compares what the workers may open with what the server allows.
func (e *examination) pool(ctx context.Context) (Check, error) {
	var r sessionRoom
	var workers int
	err := e.read(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, sessionRoomSQL, int(tx.Conn().PgConn().PID())).Scan(
			&r.Used, &r.UsedHere, &r.UsedByLogin, &r.Room, &r.Database, &r.Login, &r.Super, &r.Reserved, &r.Pooled)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			SELECT pg_catalog.count(*) FROM iu_outbox.worker AS w
			WHERE w.seen_at > pg_catalog.clock_timestamp() - interval '1 minute'`).Scan(&workers)
	})
	if err != nil {
		return Check{}, err
	}
	return judgePool(r, max(workers, 1), cmp.Or(e.cfg.PoolSize, dbsession.DefaultPoolSize)), nil
}

func judgePool(r sessionRoom, workers, size int) Check {
	r.Used, r.UsedHere, r.UsedByLogin = 0, 0, 0 // what may be opened is compared with all of the room
	limit, _, whose := r.room()
	need := workers * (size + besidesPool)
	says := fmt.Sprintf("%s with %d connections each, and %d more that listen or hold locks, may open %d sessions; %s allows %d",
		operate.Plural(workers, "worker", "workers"), size, besidesPool, need, whose, limit)
	if r.Pooled {
		return fine("%s; a pooler is in between, and its pool is what counts", says)
	}
	most := limit/workers - besidesPool
	wayOut := "raise the limit, run fewer workers, or give each a smaller pool"
	next := ""
	if most >= 2 {
		next = fmt.Sprintf("iuworker work --pool-size %d", most)
	}
	if need > limit {
		return warn("%s", says).so(wayOut, next)
	}
	return fine("%s", says)
}
