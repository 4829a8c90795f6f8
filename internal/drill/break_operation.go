package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
)

// keysHeld is how many events an idle session has composed and not committed.
const keysHeld = 5

// operator makes changes as a person would.
func (d *drill) operator() operate.Operator {
	return operate.Operator{Pool: d.pool, Actor: "drill-operator"}
}

// flapGates moves both gates, and leaves them open.
func flapGates(ctx context.Context, d *drill, rng *rand.Rand) error {
	gates := []compose.Gate{compose.GateComposer, compose.GateAutoInstantiate}
	for range 14 {
		if _, err := d.operator().SetGate(ctx, gates[rng.IntN(len(gates))], rng.IntN(2) == 0); err != nil {
			return err
		}
		if !d.pause(ctx, between(rng, 100*time.Millisecond, 1500*time.Millisecond)) {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openLimit)
	defer cancel()
	for _, gate := range gates {
		if _, err := d.operator().SetGate(ctx, gate, true); err != nil {
			return err
		}
	}
	return nil
}

// rollBack rolls back one actor's instances, and counts them by what the function reports.
func rollBack(ctx context.Context, d *drill, rng *rand.Rand) error {
	for range 8 {
		if !d.pause(ctx, between(rng, 300*time.Millisecond, 2*time.Second)) {
			return nil
		}
		preview, err := operate.PreviewRollback(ctx, d.pool, actorUndo)
		if err != nil {
			return err
		}
		done, err := d.operator().Rollback(ctx, actorUndo, preview.Counts.EventLog)
		if _, changed := errors.AsType[*operate.NotAsSeenError](err); changed {
			continue // more were composed meanwhile, and nothing was rolled back
		}
		if err != nil {
			return err
		}
		if done.Status == operate.RollbackRolledBack {
			d.undone += done.Counts.EventLog
		}
	}
	return nil
}

// idleHolders opens sessions that idle in a transaction: one has composed events whose outbox rows are committed, so that it holds
// their keys; one has locked rows of the outbox and one has inserted one. All other events must go on meanwhile.
func idleHolders(ctx context.Context, d *drill, rng *rand.Rand) error {
	held := make([]*event, keysHeld)
	for i := range held {
		held[i] = &event{id: randomID(rng), suffix: fmt.Sprintf("drill-held-%x", rng.Uint64()), kind: live, actor: actorApp}
	}
	composing, err := d.session(ctx, "BEGIN")
	if err != nil {
		return err
	}
	defer composing.Release()
	defer composing.Conn().Close(context.WithoutCancel(ctx)) //nolint:errcheck // its transaction ends with it
	for _, e := range held {
		_, err := composing.Exec(ctx, "SELECT public.fn_iu_auto_instantiate_from_event($1, $2, $3, $4, 'live', $5)",
			e.id, eventType, d.db.Template, e.suffix, e.actor)
		if err != nil {
			return fmt.Errorf("compose in an idle session: %w", err)
		}
	}
	inserting, err := d.session(ctx, "BEGIN", `
		INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix)
		SELECT 'drill.idle', t.id, 'drill-idle' FROM iu_outbox.template AS t LIMIT 1`)
	if err != nil {
		return err
	}
	defer inserting.Release()
	defer inserting.Conn().Close(context.WithoutCancel(ctx)) //nolint:errcheck // its transaction ends with it
	d.record.add(held...)
	outcome, err := d.load.insert(ctx, batch{events: held})
	d.record.ended(outcome, false, held...)
	if err != nil {
		return fmt.Errorf("insert the events whose keys are held: %w", err)
	}
	locking, err := d.session(ctx, "BEGIN", "SELECT FROM iu_outbox.event AS e FOR UPDATE SKIP LOCKED",
		"SELECT FROM iu_river.river_job AS j WHERE j.state IN ('available', 'scheduled', 'retryable') FOR UPDATE SKIP LOCKED")
	if err != nil {
		return err
	}
	defer locking.Release()
	defer locking.Conn().Close(context.WithoutCancel(ctx)) //nolint:errcheck // its transaction ends with it

	// What is locked may wait; what comes now must not.
	if !d.pause(ctx, time.Second) {
		return nil
	}
	from := time.Now()
	if !d.pause(ctx, between(rng, 2*time.Second, 4*time.Second)) {
		return nil
	}
	until := time.Now()
	waiting, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	for d.record.pendingBetween(from, until) > 0 {
		if !retry.Pause(waiting, lookEvery) {
			return fmt.Errorf("idle sessions held up %d events that they had not touched, for %s", d.record.pendingBetween(from, until), openLimit)
		}
	}
	return nil
}
