package verify

import "context"

// outbox counts what waits, and looks for rows that others than the relay deleted. Such an event may have been said
// again since.
func (a *audit) outbox(ctx context.Context, check *Check) error {
	waiting, err := a.pages(ctx, check, "iu_outbox.event", `
		SELECT NULL::text, 'waiting'::text, 1, NULL::text
		FROM iu_outbox.event AS e
		WHERE e.ctid >= $1::text::tid AND e.ctid < $2::text::tid`)
	if err != nil {
		return err
	}
	removed, err := a.numbers(ctx, check, `
		SELECT COALESCE(pg_catalog.min(s.entry) - 1, 0), COALESCE(pg_catalog.max(s.entry), 0)
		FROM iu_outbox.settled AS s WHERE s.how = 'removed'`, `
		SELECT r.event ->> 'id', 'removed'::text, 1, CASE
			WHEN (SELECT true FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = r.idempotency_key LIMIT 1)
			  OR (SELECT true FROM iu_outbox.event AS e WHERE e.event_id = (r.event ->> 'event_id')::uuid
			      AND e.idempotency_key = r.idempotency_key LIMIT 1)
			  OR (SELECT true FROM iu_outbox.dead_letter AS d WHERE d.idempotency_key = r.idempotency_key LIMIT 1)
			  OR (SELECT true FROM iu_outbox.settled AS s WHERE s.key = r.key AND s.entry > r.entry AND s.how <> 'removed' LIMIT 1)
			  OR (SELECT true FROM iu_outbox.unfinished_jobs(r.idempotency_key) LIMIT 1) THEN NULL
			ELSE pg_catalog.format('event %s was deleted from the outbox at %s', r.event ->> 'event_id', pg_catalog.date_trunc('second', r.at)) END
		FROM (SELECT s.*, pg_catalog.replace(s.key::text, '-', '') AS idempotency_key FROM iu_outbox.settled AS s
		      WHERE s.how = 'removed' AND s.entry > $1 AND s.entry <= $2) AS r`)
	if err != nil {
		return err
	}
	check.Looked = waiting["waiting"] + removed["removed"]
	a.report.Balance.Waiting = waiting["waiting"]
	return nil
}

// events accounts for every key that was claimed, once for each claim. Each is somewhere in every snapshot, since whatever
// moves it from one place to the next is one transaction. What an operator did after a claim goes first: a dead letter that
// was retried is that of the later claim.
func (a *audit) events(ctx context.Context, check *Check) error {
	sums, err := a.numbers(ctx, check, `
		SELECT COALESCE(pg_catalog.min(c.entry) - 1, 0), COALESCE(pg_catalog.max(c.entry), 0) FROM iu_outbox.claimed AS c`, `
		SELECT NULL::text, CASE WHEN c.from_outbox THEN 'rows' ELSE 'scaleout' END, c.events, NULL::text
		FROM iu_outbox.claimed AS c WHERE c.entry > $1 AND c.entry <= $2
		UNION ALL
		SELECT w.idempotency_key, w.place, 1, CASE WHEN w.place = 'lost' THEN pg_catalog.format(
			'claimed at %s (entry %s), and in no job, log row or dead letter', pg_catalog.date_trunc('second', w.at), w.entry) END
		FROM (
			SELECT r.*, COALESCE(
				(SELECT s.how FROM iu_outbox.settled AS s
				 WHERE s.key = r.key AND s.entry > r.entry AND s.how <> 'removed' ORDER BY s.entry LIMIT 1),
				CASE
				WHEN (SELECT true FROM public.iu_auto_instantiate_event_log AS l
				      WHERE l.idempotency_key = r.idempotency_key LIMIT 1) THEN 'composed'
				WHEN (SELECT true FROM iu_outbox.dead_letter AS d
				      WHERE d.idempotency_key = r.idempotency_key LIMIT 1) THEN 'dead_letter'
				WHEN (SELECT true FROM iu_outbox.unfinished_jobs(r.idempotency_key) LIMIT 1) THEN 'unfinished'
				ELSE 'lost' END) AS place
			FROM (SELECT c.entry, c.at, k.key, pg_catalog.replace(k.key::text, '-', '') AS idempotency_key
			      FROM iu_outbox.claimed AS c CROSS JOIN LATERAL pg_catalog.unnest(c.keys) AS k (key)
			      WHERE c.entry > $1 AND c.entry <= $2) AS r
			OFFSET 0) AS w`)
	if err != nil {
		return err
	}
	b := &a.report.Balance
	b.Composed, b.Unfinished, b.DeadLetters = sums["composed"], sums["unfinished"], sums["dead_letter"]
	b.RolledBack, b.Retried, b.Dropped, b.Lost = sums["rolled_back"], sums["retried"], sums["dropped"], check.Wrong
	b.Claimed, b.Scaleout = sums["rows"], sums["scaleout"]
	check.Looked = b.Composed + b.Unfinished + b.DeadLetters + b.RolledBack + b.Retried + b.Dropped + sums["lost"]
	b.Merged = b.Claimed + b.Scaleout - check.Looked
	return nil
}

// deadLetters looks for jobs that are at work, or will be, although their dead letters say that they ended.
func (a *audit) deadLetters(ctx context.Context, check *Check) error {
	sums, err := a.numbers(ctx, check, `
		SELECT COALESCE(pg_catalog.min(d.id) - 1, 0), COALESCE(pg_catalog.max(d.id), 0) FROM iu_outbox.dead_letter AS d`, `
		SELECT d.id::text, ''::text, 1, (
			SELECT pg_catalog.format('job %s is %s', j.id, j.state) FROM iu_outbox.job AS j
			WHERE j.id = d.job_id AND j.unfinished)
		FROM iu_outbox.dead_letter AS d
		WHERE d.id > $1 AND d.id <= $2`)
	check.Looked = sums[""]
	return err
}
