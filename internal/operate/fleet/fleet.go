package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

// GivenSetting is a setting that a worker was started with. It never holds a password.
type GivenSetting struct {
	Name    string `json:"name"` // as the flag is called, without dashes
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
	From    string `json:"from,omitempty"` // a flag or an environment variable; "" if not known
}

// Settings are the settings of a worker. Durations are in seconds; -1 means forever, or never.
type Settings struct {
	Lanes               int            `json:"lanes"`
	Concurrency         int            `json:"concurrency"`
	ScaleoutConcurrency int            `json:"scaleout_concurrency"` // -1: it runs no scale-outs
	PoolSize            int            `json:"pool_size"`
	ComposeBy           string         `json:"compose_by"` // auto or function; "": by a program that has no such setting
	CompletedRetention  float64        `json:"completed_retention_seconds"`
	CancelledRetention  float64        `json:"cancelled_retention_seconds"`
	DiscardedRetention  float64        `json:"discarded_retention_seconds"`
	EmissionRetention   float64        `json:"emission_retention_seconds"`
	ConsumerExpiry      float64        `json:"consumer_expiry_seconds"`
	Given               []GivenSetting `json:"given,omitempty"`
}

// How a worker learns of new events.
const (
	HearsNotifications = "listening"
	HearsNothing       = "reconnecting" // its listener is not connected now
	HearsByPolling     = "polling"
)

// Load is what a worker was doing when it last reported, a few seconds ago.
type Load struct {
	LanesBusy int     `json:"lanes_busy"`
	Running   int     `json:"running"` // jobs
	PoolUsed  int     `json:"pool_used"`
	PerSecond float64 `json:"composed_per_second"` // since its previous report
	Hears     string  `json:"hears"`
}

// Tasks that one of the workers does for all.
const (
	LeadsRiver        = "job maintenance"
	LeadsEmitter      = "announcing"
	LeadsVerification = "verification"
)

// Worker is a worker with what it reports about itself.
type Worker struct {
	status.Worker

	Settings   *Settings  `json:"settings"` // nil: not reported yet, or by an older program
	Load       *Load      `json:"load"`
	ReportedAt *time.Time `json:"reported_at"` // when Load last changed
	Leads      []string   `json:"leads"`
}

// Fleet is all workers.
type Fleet struct {
	Workers []Worker `json:"workers"`
	Peak    *int64   `json:"peak"` // the most that were alive in the last hour; nil: not known
}

// Read returns the workers, oldest first.
func Read(ctx context.Context, tx pgx.Tx) (Fleet, error) {
	var f Fleet
	rows, err := tx.Query(ctx, `
		WITH holder AS MATERIALIZED (
			SELECT h.key, h.pid FROM iu_outbox.lock_holder AS h WHERE NOT h.shared AND h.may_work
		)
		SELECT w.id, w.hostname, w.pid, w.version, w.started_at, w.seen_at, w.alive, r.settings, r.load, r.reported_at,
			EXISTS (SELECT FROM iu_river.river_leader AS l WHERE l.leader_id = w.id AND l.expires_at >= pg_catalog.now()),
			EXISTS (SELECT FROM holder AS h WHERE h.pid = w.session_pid AND h.key = 3),
			EXISTS (SELECT FROM holder AS h WHERE h.pid = w.session_pid AND h.key = 4)
		FROM iu_outbox.worker_status AS w
		LEFT JOIN iu_outbox.worker_report AS r ON r.worker = w.id
		ORDER BY w.started_at, w.id
		LIMIT 200`)
	if err != nil {
		return f, fmt.Errorf("read the workers: %w", err)
	}
	f.Workers, err = pgx.CollectRows(rows, scanWorker)
	if err != nil {
		return f, fmt.Errorf("read the workers: %w", err)
	}
	err = tx.QueryRow(ctx, `
		SELECT pg_catalog.max(h.workers)::bigint FROM iu_outbox.history AS h
		WHERE h.at >= pg_catalog.clock_timestamp() - interval '1 hour'`).Scan(&f.Peak)
	if err != nil {
		return f, fmt.Errorf("read how many workers there were: %w", err)
	}
	return f, nil
}

func scanWorker(row pgx.CollectableRow) (w Worker, err error) {
	var settings, load []byte
	var river, emitter, verifier bool
	err = row.Scan(&w.ID, &w.Hostname, &w.PID, &w.Version, &w.StartedAt, &w.SeenAt, &w.Alive, &settings, &load, &w.ReportedAt,
		&river, &emitter, &verifier)
	if err != nil {
		return w, err
	}
	for _, lead := range []struct {
		is   bool
		what string
	}{{river, LeadsRiver}, {emitter, LeadsEmitter}, {verifier, LeadsVerification}} {
		if lead.is {
			w.Leads = append(w.Leads, lead.what)
		}
	}
	if settings == nil {
		return w, nil
	}
	w.Settings, w.Load = &Settings{}, &Load{}
	if err := json.Unmarshal(settings, w.Settings); err != nil {
		return w, fmt.Errorf("the settings of worker %s: %w", w.ID, err)
	}
	if err := json.Unmarshal(load, w.Load); err != nil {
		return w, fmt.Errorf("the load of worker %s: %w", w.ID, err)
	}
	return w, nil
}

// Report stores the settings and the load of a worker. It does nothing if no row in iu_outbox.worker has the id and the lock key.
func Report(ctx context.Context, q operate.Querier, id string, lockKey int32, settings Settings, load Load) error {
	settingsText, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("report the load: %w", err)
	}
	loadText, err := json.Marshal(load)
	if err != nil {
		return fmt.Errorf("report the load: %w", err)
	}
	_, err = q.Exec(ctx, `
		INSERT INTO iu_outbox.worker_report AS r (worker, settings, load)
		SELECT w.id, $3::text::jsonb, $4::text::jsonb FROM iu_outbox.worker AS w WHERE w.id = $1 AND w.lock_key = $2
		ON CONFLICT (worker) DO UPDATE
		SET settings = EXCLUDED.settings, load = EXCLUDED.load, reported_at = pg_catalog.clock_timestamp()`,
		id, lockKey, string(settingsText), string(loadText))
	if err != nil {
		return fmt.Errorf("report the load: %w", err)
	}
	return nil
}
