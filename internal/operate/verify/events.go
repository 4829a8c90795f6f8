package verify

// An event that was deleted from the outbox by hand is not lost if it was inserted again since.
var outbox = step{
	name:   "outbox",
	holds:  "no row was deleted from the outbox by hand",
	wayOut: "the rows are in iu_outbox.settled (how = 'removed'): insert their events again, or delete these rows to accept the loss",
	scans: []scan{
		{table: "iu_outbox.event", sql: `
		SELECT NULL::text, 'waiting'::text, 1, NULL::text
		FROM iu_outbox.event AS e
		WHERE e.ctid >= $1::text::tid AND e.ctid < $2::text::tid`},
		{bounds: `
		SELECT COALESCE(pg_catalog.min(s.entry) - 1, 0), COALESCE(pg_catalog.max(s.entry), 0)
		FROM iu_outbox.settled AS s WHERE s.how = 'removed'`, sql: `
		SELECT r.event ->> 'id', 'removed'::text, 1, CASE
			WHEN (SELECT true FROM public.iu_auto_instantiate_event_log AS l WHERE l.idempotency_key = r.idempotency_key LIMIT 1)
			  OR (SELECT true FROM iu_outbox.event AS e WHERE e.event_id = (r.event ->> 'event_id')::uuid
			      AND e.idempotency_key = r.idempotency_key LIMIT 1)
			  OR (SELECT true FROM iu_outbox.dead_letter AS d WHERE d.idempotency_key = r.idempotency_key LIMIT 1)
			  OR (SELECT true FROM iu_outbox.settled AS s WHERE s.key = r.key AND s.entry > r.entry AND s.how <> 'removed' LIMIT 1)
			  OR (SELECT true FROM iu_outbox.unfinished_jobs(r.idempotency_key) LIMIT 1) THEN NULL
			ELSE pg_catalog.format('event %s was deleted from the outbox at %s', r.event ->> 'event_id', pg_catalog.date_trunc('second', r.at)) END
		FROM (SELECT s.*, pg_catalog.replace(s.key::text, '-', '') AS idempotency_key FROM iu_outbox.settled AS s
		      WHERE s.how = 'removed' AND s.entry > $1 AND s.entry <= $2) AS r`},
	},
	count: func(check *Check, balance *Balance, sums map[string]int64) {
		check.Looked = sums["waiting"] + sums["removed"]
		balance.Waiting = sums["waiting"]
	},
}

// Every key counts once for each claim. Every snapshot has it in one place, because each move is one transaction. What an operator
// did after a claim takes precedence: a dead letter that was retried belongs to the later claim.
var events = step{
	name:   "events",
	holds:  "every event that left the outbox is composed, in a job, a dead letter, or was removed by an operator",
	wayOut: "have the application send these events again; iuworker trace KEY shows one of them",
	scans: []scan{{bounds: `
		SELECT COALESCE(pg_catalog.min(c.entry) - 1, 0), COALESCE(pg_catalog.max(c.entry), 0) FROM iu_outbox.claimed AS c`, sql: `
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
			OFFSET 0) AS w`}},
	count: func(check *Check, b *Balance, sums map[string]int64) {
		b.Composed, b.Unfinished, b.DeadLetters = sums["composed"], sums["unfinished"], sums["dead_letter"]
		b.RolledBack, b.Retried, b.Dropped, b.Lost = sums["rolled_back"], sums["retried"], sums["dropped"], check.Wrong
		b.Claimed, b.Scaleout = sums["rows"], sums["scaleout"]
		check.Looked = b.Composed + b.Unfinished + b.DeadLetters + b.RolledBack + b.Retried + b.Dropped + sums["lost"]
		b.Merged = b.Claimed + b.Scaleout - check.Looked
	},
}

var deadLetters = step{
	name:   "dead letters",
	holds:  "the job of each dead letter has ended",
	wayOut: "run iuworker doctor: a trigger of River's table of jobs may be disabled; drop the dead letter once its job has ended",
	scans: []scan{{bounds: `
		SELECT COALESCE(pg_catalog.min(d.id) - 1, 0), COALESCE(pg_catalog.max(d.id), 0) FROM iu_outbox.dead_letter AS d`, sql: `
		SELECT d.id::text, ''::text, 1, (
			SELECT pg_catalog.format('job %s is %s', j.id, j.state) FROM iu_outbox.job AS j
			WHERE j.id = d.job_id AND j.unfinished)
		FROM iu_outbox.dead_letter AS d
		WHERE d.id > $1 AND d.id <= $2`}},
}
