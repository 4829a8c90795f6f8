package subscribe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/internal/iutest"
)

// steps are a history in the model. In each step an epoch begins, or an event is announced. The name of a step is unique, so two
// histories are the same as far as their names are.
type steps []string

const (
	epochStep = "epoch "
	eventStep = "event "
)

func isEvent(step string) bool { return strings.HasPrefix(step, eventStep) }

// events returns the names of the events.
func (s steps) events() (names []string) {
	for _, step := range s {
		if isEvent(step) {
			names = append(names, strings.TrimPrefix(step, eventStep))
		}
	}
	return names
}

// begins reports whether s is a prefix of another history, or equals it.
func (s steps) begins(other steps) bool {
	return len(s) <= len(other) && slices.Equal(s, other[:len(s)])
}

// ended reports whether the epoch of a cursor ended before the cursor's position, because a later epoch began there.
func (s steps) ended(c Cursor) bool {
	mine := slices.Index(s, epochStep+c.Epoch)
	if mine < 0 {
		return false
	}
	later := slices.IndexFunc(s[mine+1:], func(step string) bool { return !isEvent(step) })
	return later >= 0 && len(s[:mine+1+later].events()) < int(c.Position)
}

// show fills a database like that of a server whose history is s.
func (s steps) show(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue("DELETE FROM iu_outbox.emission")
		batch.Queue("DELETE FROM iu_outbox.emission_counter")
		batch.Queue("DELETE FROM iu_outbox.epoch")
		epoch, position := "", 0
		for _, step := range s {
			if !isEvent(step) {
				epoch = strings.TrimPrefix(step, epochStep)
				batch.Queue("INSERT INTO iu_outbox.epoch (epoch, after_position) VALUES ($1, $2)", epoch, position)
				continue
			}
			position++
			batch.Queue(`INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at)
				VALUES ($1, $2, jsonb_build_object('id', $2::uuid::text, 'cursor', $3::text), now())`,
				position, strings.TrimPrefix(step, eventStep), Cursor{epoch, int64(position)}.String())
		}
		batch.Queue("INSERT INTO iu_outbox.emission_counter (epoch, position) VALUES ($1, $2)", epoch, position)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// replicated is a primary and a standby, and a reader that has read either.
type replicated struct {
	ctx              context.Context //nolint:containedctx // of the test
	pools            [2]*pgxpool.Pool
	primary, standby steps
	stale            bool // the databases do not show these histories yet
	named            int

	own steps // what the reader has read, up to its cursor
	at  mark
}

const (
	onPrimary = "the primary"
	onStandby = "the standby"
)

func (r *replicated) step(kind string) string {
	r.named++
	if kind == eventStep {
		return kind + uuid.NewString()
	}
	return fmt.Sprintf("%s%08x", kind, r.named)
}

// shown returns the history of a server, and a source for a reader of standbys that reads this server first.
func (r *replicated) shown(t *rapid.T, server string) (steps, *source) {
	if r.stale {
		for i, history := range []steps{r.primary, r.standby} {
			if err := history.show(r.ctx, r.pools[i]); err != nil {
				t.Fatal(err)
			}
		}
		r.stale = false
	}
	history, pool := r.primary, r.pools[0]
	if server == onStandby {
		history, pool = r.standby, r.pools[1]
	}
	source := newSource(r.pools[0], pool, -1, "Test", slog.New(slog.DiscardHandler))
	source.askTimeout = time.Minute // the primary is there, however slow the machine is
	return history, source
}

// judge compares with the model what a reader of standbys got: events, or an error. shown is the history of the server that it read.
func (r *replicated) judge(t *rapid.T, shown steps, got []string, err error) {
	position := len(r.own.events())
	has, primaryHas, primaryBehind := r.own.begins(shown), r.own.begins(r.primary), r.primary.begins(r.own)
	switch {
	case err != nil && !errors.Is(err, ErrRewound):
		t.Fatalf("neither the events nor a rewind: %v", err)
	case has && err != nil:
		t.Fatalf("false alarm: the server has the cursor: %v", err)
	case has && !slices.Equal(shown.events()[position:], got):
		t.Fatalf("got %v, want %v", got, shown.events()[position:])
	case !has && len(got) > 0:
		t.Fatalf("events %v of a history that does not have the cursor, or not yet", got)
	case err != nil && (primaryHas || primaryBehind):
		t.Fatalf("false alarm: the primary has the cursor, or may come to have it: %v", err)
	case err == nil && !has && !primaryHas && !primaryBehind && (len(r.primary.events()) > position || r.primary.ended(r.at.Cursor)):
		t.Fatalf("the primary has events of another history after the cursor, or has ended its epoch, and the reader was not told")
	}
}

// read reads all events after the cursor.
func (r *replicated) read(t *rapid.T) {
	shown, source := r.shown(t, rapid.SampledFrom([]string{onPrimary, onStandby, onStandby}).Draw(t, "server"))
	p, err := source.after(r.ctx, r.at, Filter{}, 1000)
	var got []string
	for _, event := range p.events {
		got = append(got, event.ID)
	}
	r.judge(t, shown, got, err)
	switch {
	case err != nil:
		r.start(t)
	case len(got) > 0:
		r.at = p.next
		r.own = shown[:slices.Index(shown, eventStep+got[len(got)-1])+1]
	}
}

// start makes the reader start now, on either server.
func (r *replicated) start(t *rapid.T) {
	shown, source := r.shown(t, rapid.SampledFrom([]string{onPrimary, onStandby}).Draw(t, "start on"))
	at, ahead, err := source.begin(r.ctx, Now())
	if err != nil || ahead || at.Position != int64(len(shown.events())) {
		t.Fatalf("start at %v of %v: ahead %v, %v", at, shown, ahead, err)
	}
	r.own, r.at = slices.Clone(shown), at
}

// resume makes the reader start at its cursor, as after a restart.
func (r *replicated) resume(t *rapid.T) {
	shown, source := r.shown(t, rapid.SampledFrom([]string{onPrimary, onStandby}).Draw(t, "server"))
	at, ahead, err := source.begin(r.ctx, Start{kind: startAfter, after: r.at})
	switch has := r.own.begins(shown); {
	case err == nil && (at != r.at || ahead == has):
		t.Fatalf("resumed at %v and not %v; ahead %v", at, r.at, ahead)
	case has:
		r.judge(t, shown, shown.events()[at.Position:], err)
	default:
		r.judge(t, shown, nil, err)
	}
}

// readAlone reads as a reader of the primary alone, which is told of a rewind at once, because nothing can be behind.
func (r *replicated) readAlone(t *rapid.T) {
	shown, _ := r.shown(t, onPrimary)
	p, err := readAfter(r.ctx, r.pools[0], ownHistory, r.at, Filter{}, 1000)
	if has := r.own.begins(shown); has == errors.Is(err, ErrRewound) || has && (err != nil || len(p.events) != len(shown.events())-int(r.at.Position)) {
		t.Fatalf("the primary has the cursor: %v; got %d events, %v", has, len(p.events), err)
	}
}

func (r *replicated) change(f func(t *rapid.T)) func(t *rapid.T) {
	return func(t *rapid.T) {
		f(t)
		r.stale = true
	}
}

// Random things happen to a primary and its standby. A reader of both receives each event of the history that it reads once and in
// order. It is told of each rewind, and never mistakes a server that is behind for one.
func TestBehindIsNotRewound(t *testing.T) {
	t.Parallel()
	pools := [2]*pgxpool.Pool{iutest.New(t).Pool, iutest.New(t).Pool}
	t.Cleanup(func() {
		for _, pool := range pools { // the events of this test are not complete
			if _, err := pool.Exec(context.WithoutCancel(t.Context()), "DELETE FROM iu_outbox.emission"); err != nil {
				t.Error(err)
			}
		}
	})
	for range 15 { // because each Check of this package runs few checks
		rapid.Check(t, func(rt *rapid.T) {
			r := &replicated{ctx: t.Context(), pools: pools, stale: true}
			r.primary = steps{r.step(epochStep)}
			r.standby = r.primary
			r.start(rt)
			announce := r.change(func(t *rapid.T) {
				for range rapid.IntRange(1, 3).Draw(t, "events") {
					r.primary = append(slices.Clip(r.primary), r.step(eventStep))
				}
			})
			rt.Repeat(map[string]func(*rapid.T){
				"announce":       announce,
				"announce more":  announce,
				"begin an epoch": r.change(func(*rapid.T) { r.primary = append(slices.Clip(r.primary), r.step(epochStep)) }),
				"replay": r.change(func(t *rapid.T) {
					if r.standby.begins(r.primary) {
						r.standby = r.primary[:rapid.IntRange(len(r.standby), len(r.primary)).Draw(t, "replayed")]
					}
				}),
				"copy": r.change(func(*rapid.T) { r.standby = r.primary }),
				"fail over": r.change(func(t *rapid.T) {
					old := r.primary
					if rapid.Bool().Draw(t, "synchronous") && r.standby.begins(r.primary) {
						r.standby = r.primary
					}
					r.primary = append(slices.Clip(r.standby), r.step(epochStep))
					if rapid.Bool().Draw(t, "the old primary goes on as the standby") {
						r.standby = old
					}
				}),
				"set back the files": r.change(func(t *rapid.T) {
					r.primary = r.primary[:rapid.IntRange(1, len(r.primary)).Draw(t, "kept")]
					announce(t)
				}),
				"read":             r.read,
				"read on":          r.read,
				"resume":           r.resume,
				"read the primary": r.readAlone,
				"start now":        r.start,
			})
		})
	}
}
