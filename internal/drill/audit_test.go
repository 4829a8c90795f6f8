package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/scratch"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const epochA, epochB = "aaaaaaaa", "bbbbbbbb"

// world is a small history in which all is well, for tests to damage.
type world struct {
	record *record
	facts  *facts
	a, b   *subscriber // a consumer and a stream client
	undone int64
	lossy  []bool
}

// newWorld inserts an event of each kind, and n live ones first, which have the positions from 1.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{
		record: newRecord(2),
		facts: &facts{
			instances: map[uuid.UUID][]instance{}, deadLetters: map[uuid.UUID][]string{}, unfinished: map[uuid.UUID]string{},
			epochs: []epoch{{epochA, 0}},
		},
	}
	w.a = &subscriber{name: "consumer", record: w.record}
	w.b = &subscriber{name: "stream", index: 1, stream: true, record: w.record}
	for range n {
		w.announce(t, w.compose(live, "live"), epochA)
	}
	w.compose(dryRun, "dry_run")
	w.facts.deadLetters[w.insert(poison).id] = []string{"template_not_found"}
	first := w.compose(rival, "live")
	w.announce(t, first, epochA)
	second := w.insert(rival)
	first.rival, second.rival = second, first
	w.facts.deadLetters[second.id] = []string{"instance_key_conflict"}
	w.insert(undone)
	w.undone = 1
	w.record.gaveUp(w.insert(abandoned))
	return w
}

func (w *world) insert(of kind) *event {
	e := &event{id: uuid.New(), suffix: fmt.Sprint(len(w.record.order)), kind: of}
	w.record.add(e)
	w.record.ended(acknowledged, false, e)
	return e
}

func (w *world) compose(of kind, mode string) *event {
	e := w.insert(of)
	w.facts.instances[e.id] = []instance{{id: uuid.New(), mode: mode, key: "tpl-inst:auto:" + e.suffix, pieces: scratch.Pieces}}
	return e
}

// announce gives an event the next position, and lets both subscribers receive it.
func (w *world) announce(t *testing.T, e *event, epoch string) {
	t.Helper()
	w.facts.position++
	cursor := subscribe.Cursor{Epoch: epoch, Position: w.facts.position}
	w.facts.emissions = append(w.facts.emissions, emission{
		position: cursor.Position, instance: w.facts.instances[e.id][0].id, event: e.id, cursor: cursor.String(),
	})
	w.a.take(w.json(t, cursor.Position), 2)
	w.b.take(w.json(t, cursor.Position), 0)
}

// json returns an announced event as subscribers receive it.
func (w *world) json(t *testing.T, position int64) []byte {
	t.Helper()
	e := w.facts.emissions[position-1]
	text, err := json.Marshal(map[string]any{"id": e.instance, "cursor": e.cursor, "data": map[string]any{"event_id": e.event}})
	require.NoError(t, err)
	return text
}

func (w *world) audit() ([]Finding, Counts) {
	a := audit{facts: w.facts, record: w.record, subscribers: []*subscriber{w.a, w.b}, undone: w.undone, failovers: w.lossy}
	return a.run(), a.counts
}

func TestAuditOfAnUndamagedHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	findings, counts := w.audit()
	require.Empty(t, findings)
	require.Equal(t, Counts{Events: 10, Instances: 7, Announced: 6, DeadLetters: 2, Undone: 1, Received: 12}, counts)
}

// Each damage is found, and named.
func TestAuditNamesEachDamage(t *testing.T) {
	t.Parallel()
	drop := func(s *subscriber, i int) { s.receipts = append(s.receipts[:i:i], s.receipts[i+1:]...) }
	for name, c := range map[string]struct {
		damage func(t *testing.T, w *world)
		kind   Kind
		who    string
		says   string
	}{
		"an instance is gone": {func(_ *testing.T, w *world) {
			w.facts.instances[w.record.order[5].id] = nil // the dry run
		}, Lost, "", "it has no instance"},
		"an instance lacks pieces": {func(_ *testing.T, w *world) {
			w.facts.instances[w.record.order[5].id][0].pieces = 11
		}, Lost, "", "has 11 pieces of 12"},
		"an event has two instances": {func(_ *testing.T, w *world) {
			e := w.record.order[5]
			w.facts.instances[e.id] = append(w.facts.instances[e.id], instance{uuid.New(), "dry_run", "tpl-inst:auto:" + e.suffix, scratch.Pieces})
		}, Doubled, "", "it has 2 instances"},
		"an event became a dead letter": {func(_ *testing.T, w *world) {
			e := w.record.order[5]
			w.facts.instances[e.id], w.facts.deadLetters[e.id] = nil, []string{"discarded"}
		}, Lost, "", "no instance: discarded"},
		"a dead letter is gone": {func(_ *testing.T, w *world) { w.facts.deadLetters = nil }, Lost, "", "template_not_found"},
		"both rivals have an instance": {func(_ *testing.T, w *world) {
			w.facts.instances[w.record.order[8].id] = w.facts.instances[w.record.order[7].id]
		}, Doubled, "", "one instance key and 2 instances"},
		"an instance was taken away": {func(_ *testing.T, w *world) { w.undone = 0 }, Lost, "", "rolled back 0 instances"},
		"a rolled-back transaction counts": {func(_ *testing.T, w *world) {
			w.facts.unfinished[w.record.order[10].id] = "in the outbox"
		}, Phantom, "", "never committed"},
		"an event is stuck": {func(_ *testing.T, w *world) {
			e := w.record.order[5]
			w.facts.instances[e.id], w.facts.unfinished[e.id] = nil, "in the outbox"
		}, Stuck, "", "still in the outbox"},
		"a stranger has an instance": {func(_ *testing.T, w *world) { w.facts.instances[uuid.New()] = []instance{{}} }, Phantom, "", "nobody inserted it"},
		"an announcement is gone": {func(_ *testing.T, w *world) {
			w.facts.emissions = append(w.facts.emissions[:2:2], w.facts.emissions[3:]...)
		}, Gap, "", "no event has position 3"},
		"the last announcement is gone": {func(_ *testing.T, w *world) { w.facts.emissions = w.facts.emissions[:5] }, Gap, "", "no event has position 6"},
		"a position is given twice":     {func(_ *testing.T, w *world) { w.facts.emissions[2].position = 2 }, Doubled, "", "position 2 was given twice"},
		"a dry run is announced": {func(_ *testing.T, w *world) {
			w.facts.instances[w.record.order[1].id][0].mode = "dry_run"
		}, Doubled, "", "announced 1 times"},
		"a line is missing": {func(_ *testing.T, w *world) { drop(w.a, 2) }, Gap, "consumer", "it did not receive position 3"},
		"the last lines are missing": {func(_ *testing.T, w *world) {
			w.b.receipts = w.b.receipts[:4]
		}, Gap, "stream", "it did not receive positions 5 to 6"},
		"two lines are swapped": {func(_ *testing.T, w *world) {
			r := w.a.receipts
			r[2], r[3], r[2].at, r[3].at = r[3], r[2], r[3].at, r[3].at.Add(time.Second)
		}, OutOfOrder, "consumer", "received aaaaaaaa-3 after aaaaaaaa-4"},
		"a stream repeats itself": {func(t *testing.T, w *world) { w.b.take(w.json(t, 2), 0) }, Doubled, "stream", "aaaaaaaa-2 twice"},
		"another event came":      {func(_ *testing.T, w *world) { w.a.receipts[1].instance = uuid.New() }, Doubled, "consumer", "has another event there"},
		"a history ends early":    {func(_ *testing.T, w *world) { w.a.receipts[5].cursor.Position = 7 }, Phantom, "consumer", "does not know"},
		"an unknown epoch":        {func(_ *testing.T, w *world) { w.a.receipts[5].cursor.Epoch = epochB }, Phantom, "consumer", "an epoch that never was"},
		"a line cannot be read":   {func(_ *testing.T, w *world) { w.a.take([]byte("{"), 2) }, Phantom, "consumer", "read event"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 5)
			c.damage(t, w)
			findings, _ := w.audit()
			for _, f := range findings {
				if f.Kind == c.kind && f.Who == c.who && strings.Contains(f.Problem, c.says) {
					return
				}
			}
			require.Fail(t, "it was not found", "%+v", findings)
		})
	}
}

// A consumer may receive events again after a crash, and its processes take turns.
func TestAuditAllowsRedelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	w.a.take(w.json(t, 3), 4)
	w.a.take(w.json(t, 4), 4)
	r := w.a.receipts
	r[2], r[3] = r[3], r[2] // read late, from another process
	r[2].source, r[2].at, r[3].at = 5, r[3].at, r[2].at.Add(time.Second)
	findings, counts := w.audit()
	require.Empty(t, findings)
	require.Equal(t, 2, counts.Redelivered)
}

// What an unknown commit led to, and what a lossy failover took back, is no finding; the same without such a failover is.
func TestAuditKnowsWhatTheServerLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	since := time.Now()
	lost := w.compose(live, "live")
	w.announce(t, lost, epochA)
	// The standby had the history before that event.
	w.facts.instances[lost.id], w.facts.emissions, w.facts.position = nil, w.facts.emissions[:3], 3
	w.record.revert(since, w.facts)
	w.facts.epochs = append(w.facts.epochs, epoch{epochB, 3})
	w.lossy = []bool{true}
	w.announce(t, w.compose(live, "live"), epochB)
	perhaps := w.insert(live)
	perhaps.fate = unknown
	findings, counts := w.audit()
	require.Empty(t, findings)
	require.Equal(t, 2, counts.Rewound)
	require.Equal(t, 1, w.record.load().Reverted)

	w.lossy = []bool{false}
	findings, _ = w.audit()
	require.Len(t, findings, 2)
	require.Contains(t, findings[0].Problem, "although no commit may be lost")
}

func TestReadLinesLeavesOutTheTornOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	s := &subscriber{name: "torn", record: w.record}
	whole := append(w.json(t, 1), '\n')
	s.readLines(bytes.NewReader(append(whole, whole[:20]...)), 1)
	receipts, problems := s.received()
	require.Len(t, receipts, 1)
	require.Empty(t, problems)
}

func TestCrashesAreFound(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "worker-1.log")
	require.NoError(t, os.WriteFile(log, []byte(`{"msg":"panic: in a message"}`+"\npanic: runtime error\n\ngoroutine 1 [running]:\n"), 0o600))
	found, err := crashesIn(log, "worker-1")
	require.NoError(t, err)
	require.Equal(t, []Finding{{Kind: Crashed, Who: "worker-1", Problem: "panic: runtime error"}}, found)
}
