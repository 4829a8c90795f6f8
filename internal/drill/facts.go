package drill

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/retry"
)

// facts are what the database says at the end, as of one moment.
type facts struct {
	instances   map[uuid.UUID][]instance // by the event's id
	deadLetters map[uuid.UUID][]string   // statuses, by the event's id
	unfinished  map[uuid.UUID]string     // where an event still is, by its id
	emissions   []emission               // in the order of positions; those without one come last
	epochs      []epoch                  // in the order in which they began
	position    int64                    // the last one
}

type instance struct {
	id     uuid.UUID
	mode   string
	key    string
	pieces int
}

type emission struct {
	position   int64 // 0: not announced
	instance   uuid.UUID
	event      uuid.UUID
	cursor     string
	rolledBack bool
}

type epoch struct {
	name  string
	after int64 // the last position before it
}

// readFacts reads the tables in one snapshot.
func readFacts(ctx context.Context, pool *pgxpool.Pool) (f *facts, err error) {
	f = &facts{instances: map[uuid.UUID][]instance{}, deadLetters: map[uuid.UUID][]string{}, unfinished: map[uuid.UUID]string{}}
	err = pgx.BeginTxFunc(ctx, pool, operate.Snapshot, func(tx pgx.Tx) error { return f.read(ctx, tx) })
	if err != nil {
		return nil, fmt.Errorf("read what the audit compares: %w", err)
	}
	return f, nil
}

func (f *facts) read(ctx context.Context, tx pgx.Tx) error {
	var id uuid.UUID
	var i instance
	err := each(ctx, tx, []any{&id, &i.id, &i.mode, &i.key, &i.pieces}, func() {
		f.instances[id] = append(f.instances[id], i)
	}, `
		SELECT l.event_id, l.instance_collection_id, l.emit_mode, COALESCE(c.collection_key, ''), COALESCE(m.pieces, 0)
		FROM public.iu_auto_instantiate_event_log AS l
		LEFT JOIN public.iu_piece_collection AS c ON c.id = l.instance_collection_id
		LEFT JOIN (SELECT m.collection_id, pg_catalog.count(*) AS pieces FROM public.iu_piece_membership AS m GROUP BY 1) AS m
		    ON m.collection_id = l.instance_collection_id`)
	if err != nil {
		return err
	}
	var status string
	err = each(ctx, tx, []any{&id, &status}, func() { f.deadLetters[id] = append(f.deadLetters[id], status) },
		"SELECT d.event_id, d.status FROM iu_outbox.dead_letter AS d WHERE d.event_id IS NOT NULL")
	if err != nil {
		return err
	}
	err = each(ctx, tx, []any{&id, &status}, func() { f.unfinished[id] = status }, `
		SELECT j.event_id::uuid, 'in a job that is ' || j.state || COALESCE(': ' || j.reason, '')
		FROM iu_outbox.job AS j WHERE j.unfinished
		UNION ALL
		SELECT e.event_id, 'in the outbox' FROM iu_outbox.event AS e`)
	if err != nil {
		return err
	}
	var e emission
	err = each(ctx, tx, []any{&e.position, &e.instance, &e.event, &e.cursor, &e.rolledBack}, func() { f.emissions = append(f.emissions, e) }, `
		SELECT COALESCE(e.position, 0), e.instance_collection_id, (e.event #>> '{data,event_id}')::uuid, COALESCE(e.event ->> 'cursor', ''),
		       e.rolled_back_at IS NOT NULL
		FROM iu_outbox.emission AS e ORDER BY e.position`)
	if err != nil {
		return err
	}
	var began epoch
	if err := each(ctx, tx, []any{&began.name, &began.after}, func() { f.epochs = append(f.epochs, began) },
		"SELECT o.epoch, o.after_position FROM iu_outbox.epoch AS o ORDER BY o.id"); err != nil {
		return err
	}
	return tx.QueryRow(ctx, "SELECT c.position FROM iu_outbox.emission_counter AS c").Scan(&f.position)
}

// each scans row after row and calls do.
func each(ctx context.Context, q operate.Querier, into []any, do func(), sql string) error {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, into, func() error {
		do()
		return nil
	})
	return err
}

// quiet waits until nothing is left to do: the outbox and the queue are empty, all is announced, and every subscriber has the last
// position. What is missing after Config.Patience is for the audit to name.
func (d *drill) quiet(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	for {
		rest, err := d.unfinished(waiting)
		if err == nil && rest == "" {
			return nil
		}
		if retry.Pause(waiting, 2*lookEvery) {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			rest = err.Error()
		}
		d.find(Finding{Kind: Stuck, Problem: fmt.Sprintf("%s after the end of the load, there remained: %s", d.cfg.Patience.Round(time.Second), rest)})
		return nil
	}
}

// unfinished returns what is still to be done, "" if there is nothing.
func (d *drill) unfinished(ctx context.Context) (string, error) {
	var rows, jobs, waiting, position int64
	err := d.pool.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM iu_outbox.event), (SELECT pg_catalog.count(*) FROM iu_outbox.job AS j WHERE j.unfinished),
		       (SELECT pg_catalog.count(*) FROM iu_outbox.emission AS e WHERE e.position IS NULL),
		       (SELECT c.position FROM iu_outbox.emission_counter AS c)`).Scan(&rows, &jobs, &waiting, &position)
	if err != nil {
		return "", err
	}
	if rows+jobs+waiting > 0 {
		return fmt.Sprintf("%d rows in the outbox, %d jobs, %d instances to announce", rows, jobs, waiting), nil
	}
	for _, s := range d.subscribers {
		if s.last() < position {
			return fmt.Sprintf("%s has received what is up to position %d of %d", s.name, s.last(), position), nil
		}
	}
	if n := d.record.pending(time.Now()); n > 0 {
		return fmt.Sprintf("%d events that were acknowledged and not received", n), nil
	}
	return "", nil
}
