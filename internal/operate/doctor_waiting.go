package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/listen"
	"github.com/iu-core/iuworker/jobs"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func (e *examination) queues(ctx context.Context) (DoctorCheck, error) {
	paused, err := e.texts(ctx, `
		SELECT pg_catalog.format('%s since %s', q.name, pg_catalog.date_trunc('second', q.paused_at)) FROM iu_river.river_queue AS q
		WHERE q.paused_at IS NOT NULL ORDER BY q.paused_at`)
	if err != nil || len(paused) == 0 {
		return fine("no queue is paused"), err
	}
	var command string
	if slices.ContainsFunc(paused, func(queue string) bool { return strings.HasPrefix(queue, jobs.QueueScaleout+" since ") }) {
		command = "iuworker scaleout resume"
	}
	return warn("%s paused: no worker takes jobs from it", counts(len(paused), "queue is", "queues are")).with(paused).
		so("resume it unless it was paused deliberately; the pages resume any queue", command), nil
}

// retries counts jobs that failed and are tried again, up to countLimit.
func (e *examination) retries(ctx context.Context) (DoctorCheck, error) {
	var n int64
	var last *string
	err := e.row(ctx, []any{&n, &last}, `
		WITH retried AS MATERIALIZED (
			SELECT j.id, j.reason FROM iu_outbox.job AS j WHERE j.retrying LIMIT $1
		)
		SELECT pg_catalog.count(*), (SELECT r.reason FROM retried AS r ORDER BY r.id DESC LIMIT 1) FROM retried`, countLimit+1)
	if err != nil || n == 0 {
		return fine("no job waits for a retry"), err
	}
	found := warn("%s and wait for a retry", counted(n).of("job failed", "jobs failed"))
	if last != nil {
		found = found.with([]string{fmt.Sprintf("one of them: %.300s", *last)})
	}
	return found.so("fix the cause: transient errors are retried for a day, others ten times", "iuworker status"), nil
}

// parked jobs must run again at once when their gate opens.
func (e *examination) parked(ctx context.Context) (DoctorCheck, error) {
	overlooked := func() (found []ParkedCount, err error) {
		err = e.read(ctx, func(tx pgx.Tx) error {
			found, err = collect(ctx, tx, func(row pgx.CollectableRow) (count ParkedCount, err error) {
				var n int64
				err = row.Scan(&count.Gate, &n)
				count.Count = counted(n)
				return count, err
			}, `
				SELECT g.gate, n.n
				FROM iu_outbox.gate_status() AS g
				CROSS JOIN LATERAL (
					SELECT pg_catalog.count(*) AS n
					FROM (SELECT FROM iu_outbox.parked_jobs(g.gate) LIMIT $1) AS j) AS n
				WHERE g.open AND iu_outbox.gate_open('iu_core.composer_enabled') AND n.n > 0
				  AND COALESCE(g.updated_at, '-infinity') < pg_catalog.clock_timestamp() - interval '10 seconds'`, countLimit+1)
			return err
		})
		return found, err
	}
	found, err := overlooked()
	if err != nil || len(found) == 0 {
		return fine("no job is parked behind an open gate"), err
	}
	if !listen.Pause(ctx, 2*again) { // longer than a sweep
		return DoctorCheck{}, ctx.Err()
	}
	later, err := overlooked()
	if err != nil {
		return DoctorCheck{}, err
	}
	for i := range min(len(found), len(later)) {
		if found[i].Gate == later[i].Gate && later[i].N >= found[i].N {
			return failed("%s parked for the gate %s, which is open, and their number does not fall",
				later[i].of("job is", "jobs are"), later[i].Gate).
				so("workers resume them every two seconds: "+restart, "iuworker status"), nil
		}
	}
	return fine("parked jobs whose gate is open are being resumed"), nil
}

func (e *examination) deadLetters(ctx context.Context) (DoctorCheck, error) {
	var status Status
	if err := e.read(ctx, func(tx pgx.Tx) error { return readDeadLetters(ctx, tx, &status) }); err != nil {
		return DoctorCheck{}, err
	}
	if len(status.DeadLetters) == 0 {
		return fine("no dead letters"), nil
	}
	var details []string
	total := Count{}
	for _, count := range status.DeadLetters {
		details = append(details, fmt.Sprintf("%s: %s", count.Status, count.Count))
		total = Count{N: total.N + count.N, More: total.More || count.More}
	}
	return warn("%s ended as dead letters", total.of("event", "events")).with(details).
		so("see why, fix the cause, then retry them: iuworker dead-letters retry --status STATUS", "iuworker dead-letters list"), nil
}

func (e *examination) consumers(ctx context.Context) (DoctorCheck, error) {
	var all []subscribe.Consumer
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		all, err = subscribe.ListConsumers(ctx, tx)
		return err
	})
	if err != nil {
		return DoctorCheck{}, err
	}
	found := fine("%s up to date", counts(len(all), "consumer is", "consumers are"))
	var details []string
	for _, c := range all {
		if result, says := JudgeConsumer(c); result != HealthOK {
			details = append(details, fmt.Sprintf("%.60s: %s", c.Name, says))
			found.Result = found.worse(DoctorCheck{Result: result}).Result
		}
	}
	if len(details) == 0 {
		if len(all) == 0 {
			found.Says = "no durable consumers"
		}
		return found, nil
	}
	needing := "need"
	if len(details) == 1 {
		needing = "needs"
	}
	found.Says = fmt.Sprintf("%d of %d consumers %s attention", len(details), len(all), needing)
	return found.with(details).so("check that their programs run; to set a lost position, run: iuworker consumers reset NAME --to CURSOR",
		"iuworker consumers"), nil
}
