package verify

import "github.com/iu-core/iuworker/internal/operate"

// emissionProblem is a CASE expression on an emission e and the log row l of its instance.
const emissionProblem = `
	WHEN e.event ->> 'id' IS DISTINCT FROM e.instance_collection_id::text THEN 'its event names the instance ' || (e.event ->> 'id')
	WHEN l.instance_collection_id IS NULL AND e.rolled_back_at IS NULL THEN 'its instance is not in the log, and it is not marked as rolled back'
	WHEN l.instance_collection_id IS NOT NULL AND e.rolled_back_at IS NOT NULL THEN 'it is marked as rolled back, and its instance is in the log'
	WHEN l.emit_mode <> 'live' THEN 'it announces a dry run'`

// Pruned positions are below all others. An epoch has the positions after its beginning, up to the beginning of the next one.
var positions = step{
	name:   "positions",
	holds:  "positions are unique and have no gaps up to the counter, and each emission is that of one live instance, or marked as rolled back",
	wayOut: "subscribers may have missed an event: restore the emission from a backup, or inform them",
	scans: []scan{
		{sql: `
		SELECT pg_catalog.format('position %s', e.position), ''::text, 0,
			pg_catalog.format('emission of %s: the counter is at %s', e.instance_collection_id, c.position)
		FROM iu_outbox.emission_counter AS c JOIN iu_outbox.emission AS e ON e.position > c.position
		UNION ALL
		SELECT pg_catalog.format('position %s', e.position), '', 0,
			pg_catalog.format('emission of %s: it is counted as pruned', e.instance_collection_id)
		FROM iu_outbox.emission_pruned AS p JOIN iu_outbox.emission AS e ON e.position <= p.position
		UNION ALL
		SELECT 'epoch ' || c.epoch, '', 0, 'the counter is in it, and it is not the last one'
		FROM iu_outbox.emission_counter AS c
		WHERE c.epoch <> (SELECT e.epoch FROM iu_outbox.epoch AS e ORDER BY e.id DESC LIMIT 1)
		LIMIT 10000`},
		{bounds: `
		SELECT p.position, c.position FROM iu_outbox.emission_pruned AS p, iu_outbox.emission_counter AS c`, sql: `
		WITH kept AS MATERIALIZED (
			SELECT e.position, e.instance_collection_id, pg_catalog.count(*) OVER (PARTITION BY e.position) AS times, CASE ` + emissionProblem + `
				WHEN e.rolled_back_at IS NOT NULL AND e.event ->> 'rolledbackat' IS NULL THEN 'its event does not say that it was rolled back'
				WHEN e.event ->> 'position' IS DISTINCT FROM e.position::text
				  OR e.event ->> 'cursor' IS DISTINCT FROM o.epoch || '-' || e.position
					THEN pg_catalog.format('its event says position %s, cursor %s, not cursor %s-%s',
						e.event ->> 'position', e.event ->> 'cursor', o.epoch, e.position)
			END AS problem
			FROM iu_outbox.emission AS e
			LEFT JOIN public.iu_auto_instantiate_event_log AS l ON l.instance_collection_id = e.instance_collection_id
			LEFT JOIN (SELECT o.epoch, o.after_position,
			                  pg_catalog.lead(o.after_position) OVER (ORDER BY o.id) AS until
			           FROM iu_outbox.epoch AS o) AS o
			    ON e.position > o.after_position AND (e.position <= o.until OR o.until IS NULL)
			WHERE e.position > $1::bigint AND e.position <= $2::bigint
		), due AS (
			SELECT GREATEST($1::bigint, p.position) AS above, LEAST($2::bigint, c.position) AS upto
			FROM iu_outbox.emission_pruned AS p, iu_outbox.emission_counter AS c
		)
		SELECT pg_catalog.format('position %s', k.position), '', 1, CASE
			WHEN k.times > 1 THEN pg_catalog.format('it was given %s times', k.times)
			ELSE pg_catalog.format('emission of %s: ', k.instance_collection_id) || k.problem END
		FROM kept AS k
		UNION ALL
		SELECT pg_catalog.format('position %s', h.position), '', 0, 'it was given, and its emission is missing'
		FROM (
			SELECT g.position
			FROM due AS d CROSS JOIN LATERAL pg_catalog.generate_series(d.above + 1, d.upto) AS g (position)
			WHERE (SELECT pg_catalog.count(*) FROM kept) <> d.upto - d.above
			EXCEPT
			SELECT k.position FROM kept AS k
		) AS h`},
	},
}

var waiting = step{
	name:   "waiting",
	holds:  "each emission without a position is that of one live instance in the log",
	wayOut: "it will be announced without an instance: restore the instance, or delete the emission",
	scans: []scan{{bounds: `
		SELECT COALESCE(pg_catalog.min(e.id) - 1, 0), COALESCE(pg_catalog.max(e.id), 0)
		FROM iu_outbox.emission AS e WHERE e.position IS NULL`, sql: `
		SELECT e.instance_collection_id::text, ''::text, 1, CASE ` + emissionProblem + ` END
		FROM iu_outbox.emission AS e
		LEFT JOIN public.iu_auto_instantiate_event_log AS l ON l.instance_collection_id = e.instance_collection_id
		WHERE e.position IS NULL AND e.id > $1 AND e.id <= $2`}},
}

var sequences = step{
	name:   "sequences",
	holds:  "every sequence is ahead of its table",
	wayOut: "logical replication does not copy sequences: run these statements as the owner",
	scans: []scan{{sql: `
		SELECT s.name, ''::text, 1, CASE WHEN s.behind THEN 'it is behind; run: ' END FROM iu_outbox.sequences() AS s`}},
	count: func(check *Check, _ *Balance, sums map[string]int64) {
		check.Looked = sums[""]
		for i, finding := range check.Findings {
			check.Findings[i].Problem += operate.ForwardSequence(finding.ID)
		}
	},
}

var consumers = step{
	name:  "consumers",
	holds: "no consumer is ahead of the announcements",
	wayOut: "a restore or failover set the database back: decide what to do with what the consumer received, then run: " +
		"iuworker consumers reset NAME --to CURSOR",
	scans: []scan{{sql: `
		SELECT c.name, ''::text, 1, CASE WHEN c.state IN ('beyond_end', 'rewound') THEN pg_catalog.format(
			'it handled what is after %s-%s, and announced was what is up to %s-%s (%s)',
			c.epoch, c.position, c.end_epoch, c.end_position, c.state) END
		FROM iu_outbox.consumer_status AS c`}},
}
