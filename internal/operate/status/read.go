package status

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func readSchema(ctx context.Context, tx pgx.Tx, s *Status) error {
	return tx.QueryRow(ctx, `
		SELECT pg_catalog.now(), pg_catalog.current_database(), pg_catalog.current_setting('server_version'),
			i.schema_version, i.min_program_version, i.updated_at
		FROM iu_outbox.schema_info AS i`).
		Scan(&s.At, &s.Database, &s.Server, &s.Schema.Version, &s.Schema.MinProgramVersion, &s.Schema.UpdatedAt)
}

func readGates(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Gates, err = operate.Gates(ctx, tx)
	return err
}

func readComposing(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Composing, err = ReadComposing(ctx, tx)
	return err
}

func readOutbox(ctx context.Context, tx pgx.Tx, s *Status) error {
	return tx.QueryRow(ctx, `
		SELECT (SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.event LIMIT $1) AS e),
			(SELECT e.created_at FROM iu_outbox.event AS e ORDER BY e.id LIMIT 1)`, operate.CountLimit+1).
		Scan(&s.Outbox.Count, &s.Outbox.OldestAt)
}

// readJobs counts by queue and state, each of which is a range of River's index on (state, queue, ...).
func readJobs(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Jobs, err = operate.Collect(ctx, tx, pgx.RowToStructByPos[JobCount], `
		SELECT q.queue, st.state, LEAST(n.n, $2), n.n > $2
		FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS q (queue, ordinal)
		CROSS JOIN pg_catalog.unnest(pg_catalog.enum_range((NULL::iu_outbox.job).state)) AS st (state)
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS n
			FROM (SELECT FROM iu_outbox.job AS j WHERE j.state = st.state AND j.queue = q.queue LIMIT $2 + 1) AS j) AS n
		WHERE n.n > 0
		ORDER BY q.ordinal, st.state`, []string{jobs.QueueEvents, jobs.QueueScaleout}, operate.CountLimit)
	return err
}

func readParked(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Parked, err = operate.Collect(ctx, tx, pgx.RowToStructByPos[ParkedCount], `
		SELECT g.gate, LEAST(n.n, $2), n.n > $2
		FROM pg_catalog.unnest($1::text[]) AS g (gate)
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS n
			FROM (SELECT FROM iu_outbox.parked_jobs(g.gate) LIMIT $2 + 1) AS j) AS n
		WHERE n.n > 0`, []string{string(compose.GateComposer), string(compose.GateAutoInstantiate)}, operate.CountLimit)
	return err
}

func readHeld(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Held, err = ReadHeld(ctx, tx)
	return err
}

// ReadHeld counts the jobs that faults of the installation hold back, by reason.
func ReadHeld(ctx context.Context, tx pgx.Tx) ([]HeldCount, error) {
	return operate.Collect(ctx, tx, pgx.RowToStructByPos[HeldCount], `
		SELECT h.reason, LEAST(pg_catalog.count(*), $1), pg_catalog.count(*) > $1
		FROM (SELECT COALESCE(j.reason, '') AS reason FROM iu_outbox.job AS j WHERE j.held LIMIT $1 + 1) AS h
		GROUP BY h.reason
		ORDER BY pg_catalog.count(*) DESC, h.reason
		LIMIT 10`, operate.CountLimit)
}

func readDeadLetters(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.DeadLetters, err = DeadLetterCounts(ctx, tx)
	return err
}

// DeadLetterCounts counts the dead letters of each status.
func DeadLetterCounts(ctx context.Context, tx pgx.Tx) ([]DeadLetterCount, error) {
	statuses, err := operate.DeadLetterStatuses(ctx, tx)
	if err != nil {
		return nil, err
	}
	return operate.Collect(ctx, tx, pgx.RowToStructByPos[DeadLetterCount], `
		SELECT s.status, LEAST(n.n, $2), n.n > $2
		FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS s (status, ordinal)
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS n FROM (SELECT FROM iu_outbox.dead_letter AS d WHERE d.status = s.status LIMIT $2 + 1) AS d) AS n
		ORDER BY s.ordinal`, statuses, operate.CountLimit)
}

func readEmissions(ctx context.Context, tx pgx.Tx, s *Status) error {
	e := &s.Emissions
	return tx.QueryRow(ctx, `
		SELECT c.epoch, c.position,
			(SELECT e.emitted_at FROM iu_outbox.emission AS e WHERE e.position <= c.position ORDER BY e.position DESC LIMIT 1),
			(SELECT pg_catalog.count(*) FROM (SELECT FROM iu_outbox.emission AS e WHERE e.position IS NULL LIMIT $1) AS e),
			(SELECT e.created_at FROM iu_outbox.emission AS e WHERE e.position IS NULL ORDER BY e.id LIMIT 1),
			NOT iu_outbox.announcing()
		FROM iu_outbox.emission_counter AS c`, operate.CountLimit+1).
		Scan(&e.Epoch, &e.LastPosition, &e.LastEmittedAt, &e.Waiting.Count, &e.Waiting.OldestAt, &e.Held)
}

func readConsumers(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Consumers, err = operate.Collect(ctx, tx, func(row pgx.CollectableRow) (c Consumer, err error) {
		var judged subscribe.Consumer
		err = row.Scan(&c.Name, &c.Epoch, &c.Position, &c.State, &c.Lag, &c.LagSeconds, &c.Process, &c.DeadLetters, &c.UpdatedAt, &c.ActiveAt,
			&judged.Tries, &judged.LastError, &judged.ExpiresSeconds, &judged.Expiring)
		judged.State, judged.LagEvents, judged.LagSeconds, judged.Process, judged.DeadLetters = c.State, c.Lag, c.LagSeconds, c.Process, c.DeadLetters
		result, _ := JudgeConsumer(judged)
		c.Attention = result != operate.HealthOK
		return c, err
	}, `
		SELECT c.name, c.epoch, c.position, c.state, c.lag_events, c.lag_seconds, c.process, c.dead_letters, c.updated_at, c.active_at,
			c.tries, c.last_error, c.expires_seconds, c.expiring
		FROM iu_outbox.consumer_status AS c
		ORDER BY c.lag_events DESC NULLS FIRST, c.name
		LIMIT 100`)
	return err
}

func readWorkers(ctx context.Context, tx pgx.Tx, s *Status) (err error) {
	s.Workers, err = Workers(ctx, tx, 100)
	return err
}

// Workers returns the workers, the oldest first, at most limit of them.
func Workers(ctx context.Context, q operate.Querier, limit int) ([]Worker, error) {
	return operate.Collect(ctx, q, pgx.RowToStructByPos[Worker], `
		SELECT w.id, w.hostname, w.pid, w.version, w.started_at, w.seen_at, w.alive
		FROM iu_outbox.worker_status AS w
		ORDER BY w.started_at, w.id
		LIMIT $1`, limit)
}

func readPaused(ctx context.Context, tx pgx.Tx, s *Status) error {
	s.Paused = []PausedQueue{} // an empty list in JSON
	queues, err := operate.Queues(ctx, tx)
	for _, queue := range queues {
		if queue.PausedAt != nil {
			s.Paused = append(s.Paused, PausedQueue{queue.Name, *queue.PausedAt, queue.PausedBy})
		}
	}
	return err
}
