package drill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/retry"
)

const (
	producers    = 4
	insertLimit  = 10 * time.Second // of one transaction
	recent       = 200              // events of which duplicates are sent
	actorApp     = "drill-app"
	actorUndo    = "drill-undo"
	eventType    = "drill.happened"
	insertEvents = `
		INSERT INTO iu_outbox.event (event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor)
		SELECT n.event_id, $1, n.template, n.suffix, n.emit_mode, n.actor
		FROM ROWS FROM (pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::uuid[]), pg_catalog.unnest($4::text[]),
		                pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[]))
			WITH ORDINALITY AS n (event_id, template, suffix, emit_mode, actor, position)
		ORDER BY n.position`
)

// errRolledBack makes a transaction roll back on purpose.
var errRolledBack = errors.New("rolled back on purpose")

// load inserts events as an application would: at a rate, in transactions of one or of several, with duplicates, dry runs, events
// that cannot be composed, and transactions that are rolled back.
type load struct {
	pool     *pgxpool.Pool
	record   *record
	template uuid.UUID
	rate     int
	outage   *retry.Outage

	rng    *rand.Rand
	recent []*event // that were acknowledged, to send again
	next   int

	mu     sync.Mutex
	paused chan struct{} // closed: it runs
	busy   sync.WaitGroup
}

// batch is the work of one transaction.
type batch struct {
	events     []*event
	duplicates bool
	abandon    bool
}

// run inserts until ctx ends, then waits for what was sent.
func (l *load) run(ctx context.Context) {
	batches := make(chan batch)
	var senders sync.WaitGroup
	for range producers {
		senders.Go(func() {
			for b := range batches {
				l.send(ctx, b)
				l.busy.Done()
			}
		})
	}
	defer senders.Wait()
	defer close(batches)
	begun, sent := time.Now(), 0
	ticker := time.NewTicker(max(time.Second/time.Duration(l.rate), 5*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due := int(time.Since(begun).Seconds() * float64(l.rate)); sent < due; {
			if !l.running(ctx) {
				return
			}
			b := l.choose()
			select {
			case batches <- b:
				sent += len(b.events)
			case <-ctx.Done():
				l.busy.Done()
				return
			}
		}
		// Whatever could not be sent while the server was away is not caught up with: the rate is a rate.
		if behind := int(time.Since(begun).Seconds()*float64(l.rate)) - sent; behind > l.rate {
			sent += behind
		}
	}
}

// running waits while the load is paused, and counts a batch as under way. It returns false if ctx ends.
func (l *load) running(ctx context.Context) bool {
	for {
		l.mu.Lock()
		paused := l.paused
		if paused == nil {
			l.busy.Add(1)
			l.mu.Unlock()
			return true
		}
		l.mu.Unlock()
		select {
		case <-paused:
		case <-ctx.Done():
			return false
		}
	}
}

// pause keeps the load from sending, and waits for what was sent. resume lets it continue.
func (l *load) pause() (resume func()) {
	paused := make(chan struct{})
	l.mu.Lock()
	l.paused = paused
	l.mu.Unlock()
	l.busy.Wait()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.paused = nil
		l.mu.Unlock()
		close(paused)
	})
}

// choose draws the next transaction.
func (l *load) choose() batch {
	switch n := l.rng.IntN(100); {
	case n < 60:
		return batch{events: l.make(live, actorApp, 1)}
	case n < 67:
		return batch{events: l.make(live, actorApp, 5+l.rng.IntN(20))}
	case n < 77 && len(l.recent) > 0:
		again := l.recent[l.rng.IntN(len(l.recent))]
		return batch{events: []*event{again}, duplicates: true}
	case n < 83:
		return batch{events: l.make(dryRun, actorApp, 1)}
	case n < 86:
		return batch{events: l.make(poison, actorApp, 1)}
	case n < 88:
		pair := l.make(rival, actorApp, 2)
		pair[0].rival, pair[1].rival, pair[1].suffix = pair[1], pair[0], pair[0].suffix
		return batch{events: pair}
	case n < 93:
		return batch{events: l.make(undone, actorUndo, 1)}
	default:
		return batch{events: l.make(abandoned, actorApp, 1+l.rng.IntN(3)), abandon: true}
	}
}

// make draws n events, and remembers them.
func (l *load) make(of kind, actor string, n int) []*event {
	events := make([]*event, n)
	for i := range events {
		events[i] = l.event(of, actor)
	}
	l.record.add(events...)
	if of == live {
		l.recent = append(l.recent, events...)
		l.recent = l.recent[max(0, len(l.recent)-recent):]
	}
	return events
}

func (l *load) event(of kind, actor string) *event {
	l.next++
	return &event{id: randomID(l.rng), suffix: fmt.Sprintf("drill-%d", l.next), kind: of, actor: actor}
}

// randomID returns a version 4 UUID that the seed decides.
func randomID(rng *rand.Rand) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], rng.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// send runs one transaction, and notes what the application knows about it.
func (l *load) send(ctx context.Context, b batch) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), insertLimit)
	defer cancel()
	outcome, err := l.insert(ctx, b)
	if err != nil && !errors.Is(err, errRolledBack) {
		l.outage.Failed(ctx, err)
	} else {
		l.outage.Worked(ctx)
	}
	if b.abandon {
		l.record.gaveUp(b.events...)
		return
	}
	l.record.ended(outcome, b.duplicates, b.events...)
}

// insert inserts events in one transaction. Whatever goes wrong with the commit, the server may have made it.
func (l *load) insert(ctx context.Context, b batch) (fate, error) {
	tx, err := l.pool.Begin(ctx)
	if err != nil {
		return refused, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // does nothing after a commit
	if err := l.insertInto(ctx, tx, b.events); err != nil {
		return refused, err
	}
	if b.abandon {
		return refused, errRolledBack
	}
	if err := tx.Commit(ctx); err != nil {
		return unknown, err
	}
	return acknowledged, nil
}

func (l *load) insertInto(ctx context.Context, tx pgx.Tx, events []*event) error {
	n := len(events)
	ids, templates, suffixes, modes, actors := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n), make([]string, n), make([]string, n)
	for i, e := range events {
		ids[i], templates[i], suffixes[i], modes[i], actors[i] = e.id, l.template, e.suffix, "live", e.actor
		switch e.kind {
		case dryRun:
			modes[i] = "dry_run"
		case poison:
			templates[i] = e.id // there is none
		}
	}
	_, err := tx.Exec(ctx, insertEvents, eventType, ids, templates, suffixes, modes, actors)
	return err
}
