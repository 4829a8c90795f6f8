package verify

import "fmt"

var instances = step{
	name:   "instances",
	holds:  "each collection tpl-inst:auto:* is in the log",
	wayOut: "its log row was deleted, or something else took such a key: rename the collection, or delete it",
	scans: []scan{{table: "public.iu_piece_collection", sql: `
		SELECT c.id::text, ''::text, 1, CASE WHEN (
			SELECT true FROM public.iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = c.id LIMIT 1) IS NULL
			THEN c.collection_key || ' is not in the log' END
		FROM public.iu_piece_collection AS c
		WHERE c.ctid >= $1::text::tid AND c.ctid < $2::text::tid AND c.collection_key LIKE 'tpl-inst:auto:%'`}},
}

// prunedSQL reads the numbers of pruned emissions, into tallies with a suffix.
const prunedSQL = `
	SELECT NULL::text, x.tally || '%s', x.n, NULL::text
	FROM iu_outbox.emission_pruned AS p
	CROSS JOIN LATERAL (VALUES ('instances ', p.instances), ('rolled back ', p.rolled_back)) AS x (tally, n)`

// A live instance has no emission if that was pruned. If it is younger than all pruned emissions, it is wrong; the older ones must
// be as many as were pruned. While the log is read, more may be pruned, and pruned ones rolled back.
var log = step{
	name:   "log",
	holds:  "each row of the log has its instance with pieces, its lineage with the template's digest and, if it is live, its emission",
	wayOut: "restore what is missing from a backup, or roll the actor back and send its events again: iuworker rollback --actor ACTOR",
	scans: []scan{
		{sql: fmt.Sprintf(prunedSQL, "before")},
		{table: "public.iu_auto_instantiate_event_log", sql: `
		SELECT r.instance_collection_id::text,
			CASE WHEN r.emission = 'pruned' THEN 'pruned' ELSE '' END, 1,
			CASE
				WHEN r.lineage IS NULL THEN 'it has no lineage'
				WHEN r.lineage_template IS DISTINCT FROM r.template_collection_id THEN 'its lineage names another template'
				WHEN r.template_digest IS NULL THEN 'its lineage has no digest of the template'
				WHEN r.collection_key IS NULL THEN 'its collection is missing'
				WHEN r.collection_key NOT LIKE 'tpl-inst:auto:%' THEN 'its collection has the key ' || r.collection_key
				WHEN r.idempotency_key <> pg_catalog.md5(r.event_id::text || ':' || r.template_collection_id::text || ':'
					|| pg_catalog.substr(r.collection_key, pg_catalog.length('tpl-inst:auto:') + 1))
					THEN 'its idempotency key is not that of its event, template and instance key'
				WHEN r.membership IS NULL THEN 'its collection has no pieces'
				WHEN r.emission = 'missing' THEN 'it is live and has no emission'
			END
		FROM (
			SELECT l.*, g.instance_collection_id AS lineage, g.template_collection_id AS lineage_template, g.template_digest,
				i.collection_key,
				(SELECT true FROM public.iu_piece_membership AS m WHERE m.collection_id = l.instance_collection_id LIMIT 1) AS membership,
				CASE WHEN l.emit_mode = 'live' AND (
					SELECT true FROM iu_outbox.emission AS e WHERE e.instance_collection_id = l.instance_collection_id LIMIT 1) IS NULL
					THEN CASE WHEN l.created_at > (SELECT p.created_until FROM iu_outbox.emission_pruned AS p)
					          THEN 'missing' ELSE 'pruned' END END AS emission
			FROM public.iu_auto_instantiate_event_log AS l
			LEFT JOIN public.iu_collection_template_instance_lineage AS g ON g.instance_collection_id = l.instance_collection_id
			LEFT JOIN public.iu_piece_collection AS i ON i.id = l.instance_collection_id
			WHERE l.ctid >= $1::text::tid AND l.ctid < $2::text::tid
			OFFSET 0) AS r`},
		{sql: fmt.Sprintf(prunedSQL, "after")},
	},
	count: func(check *Check, _ *Balance, sums map[string]int64) {
		check.Looked = sums[""] + sums["pruned"]
		least := sums["instances before"] - sums["rolled back after"]
		most := sums["instances after"] - sums["rolled back before"]
		if n := sums["pruned"]; n < least || n > most {
			check.add("all", fmt.Sprintf("%d live instances have no emission, and the emissions of %d were pruned",
				n, sums["instances after"]-sums["rolled back after"]))
		}
	},
}

var lineage = step{
	name:   "lineage",
	holds:  "each lineage has its instance and its template",
	wayOut: "foreign keys were off when these collections were deleted: restore them, or delete the orphans",
	scans: []scan{{table: "public.iu_collection_template_instance_lineage", sql: `
		SELECT g.instance_collection_id::text, ''::text, 1, CASE
			WHEN (SELECT true FROM public.iu_piece_collection AS c WHERE c.id = g.instance_collection_id LIMIT 1) IS NULL
				THEN 'its collection is missing'
			WHEN g.template_collection_id IS NOT NULL
			 AND (SELECT true FROM public.iu_piece_collection AS c WHERE c.id = g.template_collection_id LIMIT 1) IS NULL
				THEN pg_catalog.format('its template %s is missing', g.template_collection_id) END
		FROM public.iu_collection_template_instance_lineage AS g
		WHERE g.ctid >= $1::text::tid AND g.ctid < $2::text::tid`}},
}

var memberships = step{
	name:   "memberships",
	holds:  "each membership has its collection and its piece",
	wayOut: "foreign keys were off when these were deleted: restore them, or delete the orphans",
	scans: []scan{{table: "public.iu_piece_membership", sql: `
		SELECT m.collection_id || '/' || m.piece_id, ''::text, 1, CASE
			WHEN (SELECT true FROM public.iu_piece_collection AS c WHERE c.id = m.collection_id LIMIT 1) IS NULL
				THEN 'its collection is missing'
			WHEN (SELECT true FROM public.iu_piece AS p WHERE p.id = m.piece_id LIMIT 1) IS NULL THEN 'its piece is missing' END
		FROM public.iu_piece_membership AS m
		WHERE m.ctid >= $1::text::tid AND m.ctid < $2::text::tid`}},
}
