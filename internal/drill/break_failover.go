package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/iu-core/iuworker/internal/pgserver"
)

const standbyTries = 3

// failOver kills the primary while a synchronous standby follows it, and promotes the standby. The application goes on inserting.
func failOver(ctx context.Context, d *drill, rng *rand.Rand) error {
	standby, err := d.standby(ctx, true)
	if err != nil {
		return err
	}
	if !d.pause(ctx, between(rng, time.Second, 3*time.Second)) {
		return nil
	}
	d.own.KillHard()
	if !d.pause(ctx, between(rng, 0, time.Second)) {
		return nil
	}
	if err := standby.Promote(ctx); err != nil {
		return err
	}
	return d.replaceServer(standby, false)
}

// loseCommits promotes a standby that was cut off before: what the primary acknowledged since is lost. The drill notes which
// events the new primary never received. It owes nothing for these, and everything for all others.
func loseCommits(ctx context.Context, d *drill, rng *rand.Rand) error {
	standby, err := d.standby(ctx, false)
	if err != nil {
		return err
	}
	if !d.pause(ctx, between(rng, time.Second, 3*time.Second)) {
		return nil
	}
	received := time.Now() // by the standby, whatever was acknowledged before
	if err := standby.AwaitReplay(ctx); err != nil {
		return err
	}
	if err := standby.StopReceiving(ctx); err != nil {
		return err
	}
	if !d.pause(ctx, between(rng, 2*time.Second, 5*time.Second)) {
		return nil
	}
	resume := d.load.pause()
	defer resume()
	d.own.Kill()
	if err := standby.Promote(ctx); err != nil {
		return err
	}
	if err := d.replaceServer(standby, true); err != nil {
		return err
	}
	survived, err := readFacts(ctx, d.pool)
	if err != nil {
		return fmt.Errorf("read what the new primary received: %w", err)
	}
	d.record.revert(received, survived)
	return nil
}

// standby starts a standby of the primary. A machine that is too slow for that says nothing about the installation.
func (d *drill) standby(ctx context.Context, synchronous bool) (*pgserver.Server, error) {
	var err error
	for range standbyTries {
		var standby *pgserver.Server
		if standby, err = d.own.Standby(ctx, pgserver.StandbyConfig{Synchronous: synchronous}); err == nil {
			d.promoted = append(d.promoted, standby)
			return standby, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, &skippedError{err.Error()}
}

// replaceServer leads all networks to another server, as an address that moves does, and throws the old one away.
func (d *drill) replaceServer(server *pgserver.Server, lossy bool) error {
	d.installation.mu.Lock()
	old := d.own
	d.own = server
	d.installation.mu.Unlock()
	d.failovers = append(d.failovers, lossy)
	for _, l := range d.links {
		l.reset()
	}
	d.pool.Reset()
	return d.retire(old)
}
