package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
)

// killServer kills the server's main process, and starts it again: its other processes end when they notice.
func killServer(ctx context.Context, d *drill, rng *rand.Rand) error {
	d.own.KillHard()
	if !d.pause(ctx, between(rng, 100*time.Millisecond, 3*time.Second)) {
		return nil
	}
	err := d.restartServer(ctx)
	d.pool.Reset()
	return err
}

// restartServer starts the server again. As long as a process of the one before lives, that fails.
func (d *drill) restartServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	for {
		err := d.own.Restart(ctx)
		if err == nil || !retry.Pause(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

// cutSessions ends sessions of the scratch database, but not the drill's own. It leaves out what a login without privileges may not
// end: sessions of other logins, and autovacuum workers.
func cutSessions(ctx context.Context, d *drill, rng *rand.Rand) error {
	for range 25 {
		_, err := d.pool.Exec(ctx, `
			SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a
			WHERE a.datname = pg_catalog.current_database() AND a.usename = SESSION_USER AND a.application_name <> $1
			ORDER BY pg_catalog.md5(a.pid::text || $2) LIMIT $3`, ownSessions, fmt.Sprint(rng.Uint64()), 1+rng.IntN(4))
		if err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
		if !d.pause(ctx, between(rng, 50*time.Millisecond, 500*time.Millisecond)) {
			break
		}
	}
	return nil
}

// halfOpen stops networks. In one half of the cases new connections pass, as behind a firewall that forgot the old ones; in the
// other half nothing does, until all that hangs is closed.
func halfOpen(ctx context.Context, d *drill, rng *rand.Rand) error {
	var links []*link
	for _, p := range d.children() {
		links = append(links, p.link)
	}
	rng.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
	stall := rng.IntN(2) == 0
	chosen := links[:1+rng.IntN(len(links))]
	if rng.IntN(3) == 0 {
		chosen = append(chosen, d.application)
	}
	for _, l := range chosen {
		l.freeze(stall)
	}
	d.pause(ctx, longerThanLeases+between(rng, 0, 8*time.Second))
	for _, l := range chosen {
		l.heal()
	}
	return nil
}

// oldSnapshot keeps a transaction open that has a snapshot, so that nothing that is deleted meanwhile can be vacuumed.
func oldSnapshot(ctx context.Context, d *drill, rng *rand.Rand) error {
	conn, err := d.session(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT pg_catalog.count(*) FROM iu_outbox.event")
	if err != nil {
		return err
	}
	defer conn.Release()
	if !d.pause(ctx, between(rng, 10*time.Second, 15*time.Second)) {
		return nil
	}
	_, err = conn.Exec(ctx, "ROLLBACK")
	return err
}

// session opens a session that may idle in a transaction, and runs statements in it. Close it.
func (d *drill) session(ctx context.Context, statements ...string) (*pgxpool.Conn, error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	for _, statement := range append([]string{"SET idle_in_transaction_session_timeout = 0"}, statements...) {
		if _, err := conn.Exec(ctx, statement); err != nil {
			_ = conn.Conn().Close(ctx)
			conn.Release()
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return conn, nil
}
