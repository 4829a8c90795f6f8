package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

// River's notifications, without their schema.
const (
	topicInsert     = "river_insert"
	topicControl    = "river_control"
	topicLeadership = "river_leadership"
)

const (
	controlPoll = time.Second
	controlRest = 100 * time.Millisecond // between two reads, however often the bell rings
)

// riverControl is what River listens to in place of the database. River obeys notifications, and any login may send one:
// {"action": "pause", "queue": "*"} would stop all workers. So a notification from the database only rings a bell, and River is
// told what the tables say: that a queue was paused or resumed, that a running job is to be cancelled, that there is no leader.
// It implements riverdriver.Listener, which River calls from one goroutine at a time.
type riverControl struct {
	tools

	active  func() []int64         // the jobs that this process runs
	inserts map[string]listen.Bell // by queue
	changed listen.Bell
	poll    poll
	fetch   poll
	told    chan *riverdriver.Notification

	paused    map[string]bool // as River was told last
	cancelled []int64         // the same
}

// newRiverControl makes the control of some queues; listener is nil if there are only polls.
func newRiverControl(
	pool *pgxpool.Pool, listener *listen.Listener, queues []string, active func() []int64, logger *slog.Logger,
) *riverControl {
	c := &riverControl{
		tools:  tools{pool: pool, outage: &retry.Outage{Logger: logger, What: "Control: database", Name: faultName}},
		active: active, inserts: make(map[string]listen.Bell), changed: listen.NewBell(), told: make(chan *riverdriver.Notification),
		paused: make(map[string]bool),
	}
	for _, queue := range queues {
		c.inserts[queue] = listen.NewBell()
		if listener != nil {
			c.inserts[queue] = listener.OnPayload(jobs.RiverSchema+"."+topicInsert, namesQueue(queue))
		}
	}
	if listener != nil {
		c.changed = listener.On(jobs.RiverSchema+"."+topicControl, jobs.RiverSchema+"."+topicLeadership)
	}
	return c
}

// namesQueue reports whether a payload of river_insert may mean a queue.
func namesQueue(queue string) func(string) bool {
	quoted := `"` + queue + `"`
	return func(payload string) bool {
		return payload == "" || len(payload) < 100 && strings.Contains(payload, quoted)
	}
}

// run reads the tables at each poll, and whenever the bell rings, until ctx ends.
func (c *riverControl) run(ctx context.Context) error {
	return c.repeat(ctx, func(ctx context.Context) {
		if retry.Pause(ctx, controlRest) {
			c.changed.Wait(ctx, c.poll.next()-controlRest)
		}
	}, c.read)
}

// runFetch makes River fetch at each poll until ctx ends, except while the worker is calm. It is needed because River's own interval is
// fixed, and is the idle one.
func (c *riverControl) runFetch(ctx context.Context) error {
	for ctx.Err() == nil {
		if c.fetch.calm.now() {
			c.fetch.calm.fetch.Wait(ctx, c.fetch.idle)
			continue
		}
		if !retry.Pause(ctx, c.fetch.interval) {
			break
		}
		for _, bell := range c.inserts {
			bell.Ring()
		}
	}
	return nil
}

// The actions are River's. A leader that resigns reports that there is no leader.
const controlSQL = `
	SELECT CASE WHEN q.paused_at IS NULL THEN 'resume' ELSE 'pause' END AS action, q.name AS queue, 0 AS job_id
	FROM iu_river.river_queue AS q WHERE q.name = ANY ($1)
	UNION ALL
	SELECT 'cancel', j.queue, j.id
	FROM iu_outbox.job AS j
	WHERE j.id = ANY ($2) AND j.state = 'running' AND j.cancel_requested
	UNION ALL
	SELECT 'resigned', '', 0
	WHERE NOT EXISTS (SELECT FROM iu_river.river_leader AS l WHERE l.expires_at >= pg_catalog.now())`

type controlRow struct {
	Action string `json:"action"`
	Queue  string `json:"queue"`
	JobID  int64  `db:"job_id" json:"job_id,omitempty"`
}

// read tells River what changed in the tables since the last read.
func (c *riverControl) read(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	queues := slices.Collect(maps.Keys(c.inserts))
	rows, _ := c.pool.Query(bounded, controlSQL, queues, c.active()) // CollectRows returns its error
	state, err := pgx.CollectRows(rows, pgx.RowToStructByName[controlRow])
	if err != nil {
		return fmt.Errorf("read what to tell River: %w", err)
	}
	var cancelled []int64
	for _, row := range state {
		switch row.Action {
		case "resigned":
			c.tell(ctx, topicLeadership, row)
		case "cancel":
			cancelled = append(cancelled, row.JobID)
			if !slices.Contains(c.cancelled, row.JobID) {
				c.tell(ctx, topicControl, row)
			}
		default:
			paused := row.Action == "pause"
			if told, known := c.paused[row.Queue]; !known || told != paused {
				c.tell(ctx, topicControl, row)
				c.paused[row.Queue] = paused
			}
		}
	}
	c.cancelled = cancelled
	return nil
}

// tell waits until River has taken a notification: River listens for as long as its client runs.
func (c *riverControl) tell(ctx context.Context, topic string, row controlRow) {
	payload, err := json.Marshal(row)
	if err != nil {
		return // impossible: all fields have a JSON form
	}
	select {
	case c.told <- &riverdriver.Notification{Topic: topic, Payload: string(payload)}:
	case <-ctx.Done():
	}
}

// WaitForNotification implements riverdriver.Listener.
func (c *riverControl) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case n := <-c.told:
		return n, nil
	case <-c.inserts[jobs.QueueEvents]:
		return inserted(jobs.QueueEvents), nil
	case <-c.inserts[jobs.QueueScaleout]: // nil, and never ready, if this process does not work that queue
		return inserted(jobs.QueueScaleout), nil
	}
}

func inserted(queue string) *riverdriver.Notification {
	return &riverdriver.Notification{Topic: topicInsert, Payload: `{"queue": "` + queue + `"}`}
}

// The other methods of riverdriver.Listener have nothing to do: there is no connection.

func (*riverControl) Close(context.Context) error            { return nil }
func (*riverControl) Connect(context.Context) error          { return nil }
func (*riverControl) Listen(context.Context, string) error   { return nil }
func (*riverControl) Ping(context.Context) error             { return nil }
func (*riverControl) Schema() string                         { return jobs.RiverSchema }
func (*riverControl) SetAfterConnectExec(string)             {}
func (*riverControl) Unlisten(context.Context, string) error { return nil }
