package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/jobs"
)

// consumersShown is the number of consumers that have series of their own.
const consumersShown = 50

// deadStatuses are the statuses of dead letters: refusals, an error, and how River or an operator ended the job.
var deadStatuses = []string{
	string(jobs.StatusInvalidInput), string(jobs.StatusTemplateNotFound), string(jobs.StatusTemplateNotMarked),
	string(jobs.StatusTemplateEmpty), string(jobs.StatusInstanceKeyConflict), string(jobs.StatusError),
	string(rivertype.JobStateCancelled), string(rivertype.JobStateDiscarded), "deleted", other,
}

// state reads the state of the database, once for all scrapes within the interval.
type state struct {
	pool              *pgxpool.Pool
	ready             func(ctx context.Context) error // nil: there is no worker
	interval, timeout time.Duration
	logger            *slog.Logger

	mu   sync.Mutex // held while reading: other scrapes wait for the same reading
	last reading
}

// reading is one read of the state.
type reading struct {
	at    time.Time
	took  time.Duration
	err   error
	ready bool
	state status.Status
	extra extra
}

// extra is what status.Status lacks.
type extra struct {
	NotificationQueueUsage float64
	OutboxSpan             int64 // from the lowest id to the highest; at least the number of rows
	WaitingSpan            int64 // the same of emissions without a position
	DeadLettersCreated     int64
	Expires                map[string]float64 // seconds, by consumer: those that expire first
}

func newState(cfg Config) *state {
	return &state{
		pool: cfg.Pool, ready: cfg.Ready, interval: cmp.Or(cfg.StateInterval, 10*time.Second), timeout: cmp.Or(cfg.StateTimeout, 3*time.Second),
		logger: cfg.Logger,
	}
}

// collect is the collector of the state.
func (s *state) collect(set setter) {
	read := s.read()
	set("iuworker_database_up", one(read.err == nil))
	if s.ready != nil {
		set("iuworker_worker_ready", one(read.ready))
	}
	set("iuworker_state_read_duration_seconds", read.took.Seconds())
	if read.err == nil {
		read.set(set)
	}
}

// read returns the last reading, or a new one if that is too old. It keeps a failed reading, too, so that not every
// scrape queries a database that is down.
func (s *state) read() reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.at.IsZero() && time.Since(s.last.at) < s.interval {
		return s.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	start := time.Now()
	read := reading{}
	if read.state, read.err = status.Read(ctx, s.pool); read.err == nil {
		read.extra, read.err = s.readExtra(ctx)
	}
	read.at, read.took = time.Now(), time.Since(start)
	read.ready = read.err == nil && s.ready != nil && s.ready(ctx) == nil
	if read.err != nil && s.last.err == nil {
		s.logger.WarnContext(ctx, "Metrics: cannot read the state", slog.String("error", read.err.Error()))
	}
	s.last = read
	return read
}

func (s *state) readExtra(ctx context.Context) (extra, error) {
	var e extra
	err := s.pool.QueryRow(ctx, `
		SELECT
			COALESCE((SELECT e.id FROM iu_outbox.event AS e ORDER BY e.id DESC LIMIT 1)
				- (SELECT e.id FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1) + 1, 0),
			COALESCE((SELECT e.id FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id DESC LIMIT 1)
				- (SELECT e.id FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1) + 1, 0),
			(SELECT CASE WHEN d.is_called THEN d.last_value ELSE 0 END FROM iu_outbox.dead_letter_id_seq AS d),
			COALESCE((SELECT pg_catalog.jsonb_object_agg(c.name, c.expires_seconds) FROM (
				SELECT c.name, c.expires_seconds FROM iu_outbox.consumer_status AS c WHERE c.expires_seconds IS NOT NULL
				ORDER BY c.expires_seconds, c.name LIMIT $1) AS c), '{}')`, consumersShown).
		Scan(&e.OutboxSpan, &e.WaitingSpan, &e.DeadLettersCreated, &e.Expires)
	if err != nil {
		return e, fmt.Errorf("read the backlogs and the consumers: %w", err)
	}
	err = s.pool.QueryRow(ctx, "SELECT pg_catalog.pg_notification_queue_usage()").Scan(&e.NotificationQueueUsage)
	if _, refused := errors.AsType[*pgconn.PgError](err); err != nil && !refused { // some services refuse this function
		return e, fmt.Errorf("read the notification queue: %w", err)
	}
	return e, nil
}

func (r reading) set(set setter) {
	s := r.state
	set("iuworker_outbox_rows", rows(s.Outbox.Count, r.extra.OutboxSpan))
	set("iuworker_outbox_oldest_age_seconds", age(s.At, s.Outbox.OldestAt))
	setJobs(set, s)
	for _, gate := range s.Gates {
		set("iuworker_gate_open", one(gate.Open), string(gate.Gate))
	}
	e := s.Emissions
	set("iuworker_emissions_waiting", rows(e.Waiting.Count, r.extra.WaitingSpan))
	set("iuworker_emissions_oldest_age_seconds", age(s.At, e.Waiting.OldestAt))
	set("iuworker_emissions_held", one(e.Held))
	set("iuworker_emission_position", float64(e.LastPosition))
	set("iuworker_dead_letters_created_total", float64(r.extra.DeadLettersCreated))
	for _, c := range s.Consumers[:min(len(s.Consumers), consumersShown)] {
		setConsumer(set, c)
	}
	for name, left := range r.extra.Expires {
		set("iuworker_consumer_expires_seconds", left, name)
	}
	var alive int
	for _, w := range s.Workers {
		if w.Alive {
			alive++
		}
	}
	set("iuworker_workers_alive", float64(alive))
	set("iuworker_notification_queue_usage_ratio", r.extra.NotificationQueueUsage)
}

// setJobs sets missing counts to 0: a missing series would not show that all is well.
func setJobs(set setter, s status.Status) {
	counts := make(map[[2]string]int64)
	for _, c := range s.Jobs {
		counts[[2]string{c.Queue, c.State}] = c.N
	}
	for _, queue := range queues {
		for _, state := range rivertype.JobStates() {
			set("iuworker_queue_jobs", float64(counts[[2]string{queue, string(state)}]), queue, string(state))
		}
	}
	parked := make(map[compose.Gate]int64)
	for _, c := range s.Parked {
		parked[c.Gate] = c.N
	}
	for _, gate := range gates {
		set("iuworker_parked_jobs", float64(parked[gate]), string(gate))
	}
	dead := make(map[string]int64)
	for _, status := range deadStatuses {
		dead[status] = 0
	}
	for _, c := range s.DeadLetters {
		if _, known := dead[c.Status]; known {
			dead[c.Status] += c.N
		} else {
			dead[other] += c.N
		}
	}
	for status, n := range dead {
		set("iuworker_dead_letters", float64(n), status)
	}
}

func setConsumer(set setter, c status.Consumer) {
	name := strings.ToValidUTF8(c.Name, "\uFFFD")
	if c.Lag != nil {
		set("iuworker_consumer_lag_events", float64(*c.Lag), name)
	}
	if c.LagSeconds != nil {
		set("iuworker_consumer_lag_seconds", *c.LagSeconds, name)
	}
	set("iuworker_consumer_lost", one(c.Lag == nil), name)
	set("iuworker_consumer_dead_letters", float64(c.DeadLetters), name)
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func rows(c operate.Count, span int64) float64 {
	if c.More {
		return float64(max(c.N, span))
	}
	return float64(c.N)
}

func age(now time.Time, oldest *time.Time) float64 {
	if oldest == nil {
		return 0
	}
	return max(now.Sub(*oldest), 0).Seconds()
}
