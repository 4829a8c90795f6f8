package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// freeConnections keeps connections from being used up that others need.
func freeConnections(ctx context.Context, d *drill) string {
	if d.cfg.Own != nil {
		return ""
	}
	var super bool
	if err := d.pool.QueryRow(ctx, "SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER").Scan(&super); err != nil {
		return "the login cannot be examined: " + err.Error()
	}
	if super {
		return "the server is not the drill's own, and the limit of a database does not apply to a superuser: give another login"
	}
	return ""
}

// noConnections leaves no connection to those whose sessions are cut. On a server of others the limit is that of the scratch
// database.
func noConnections(ctx context.Context, d *drill, rng *rand.Rand) (err error) {
	if d.cfg.Own == nil {
		return d.limitConnections(ctx, rng)
	}
	var taken []*pgx.Conn
	defer func() {
		for _, conn := range taken {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	take := func() {
		for ctx.Err() == nil && len(taken) < 1000 {
			conn, err := pgx.ConnectConfig(ctx, d.server.ConnConfig)
			if err != nil {
				return // there is none left
			}
			taken = append(taken, conn)
		}
	}
	take()
	for range 4 {
		for _, l := range d.links {
			if rng.IntN(2) == 0 {
				l.reset()
			}
		}
		if !d.pause(ctx, between(rng, 500*time.Millisecond, 2*time.Second)) {
			break
		}
		take() // what the links gave back
	}
	d.pause(ctx, between(rng, 3*time.Second, 8*time.Second))
	return nil
}

func (d *drill) limitConnections(ctx context.Context, rng *rand.Rand) (err error) {
	limit := func(ctx context.Context, n int) error {
		_, err := d.pool.Exec(ctx, fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d", d.db.Name, n))
		return err
	}
	if err := limit(ctx, 1); err != nil {
		return fmt.Errorf("limit the connections of the scratch database: %w", err)
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), openLimit)
		defer cancel()
		err = errors.Join(err, limit(ending, -1))
	}()
	for range 4 {
		for _, l := range d.links {
			if rng.IntN(2) == 0 {
				l.reset()
			}
		}
		if !d.pause(ctx, between(rng, 2*time.Second, 4*time.Second)) {
			break
		}
	}
	return nil
}
