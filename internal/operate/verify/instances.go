package verify

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

func (a *audit) instances(ctx context.Context, check *Check) error {
	sums, err := a.pages(ctx, check, "public.iu_piece_collection", `
		SELECT c.id::text, ''::text, 1, CASE WHEN (
			SELECT true FROM public.iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = c.id LIMIT 1) IS NULL
			THEN c.collection_key || ' is not in the log' END
		FROM public.iu_piece_collection AS c
		WHERE c.ctid >= $1::text::tid AND c.ctid < $2::text::tid AND c.collection_key LIKE 'tpl-inst:auto:%'`)
	check.Looked = sums[""]
	return err
}

// pruned is what stands for emissions that were pruned.
type pruned struct{ instances, rolledBack int64 }

func (a *audit) pruned(ctx context.Context) (p pruned, err error) {
	err = a.read(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "SELECT p.instances, p.rolled_back FROM iu_outbox.emission_pruned AS p").Scan(&p.instances, &p.rolledBack)
	})
	if err != nil {
		return p, fmt.Errorf("read how many emissions were pruned: %w", err)
	}
	return p, nil
}

// log looks at the log's rows. A live one may be without its emission where that was pruned: one that is younger than
// all that was pruned is wrong by itself, the others must be as many as were pruned.
func (a *audit) log(ctx context.Context, check *Check) error {
	before, err := a.pruned(ctx)
	if err != nil {
		return err
	}
	sums, err := a.pages(ctx, check, "public.iu_auto_instantiate_event_log", `
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
			OFFSET 0) AS r`)
	if err != nil {
		return err
	}
	after, err := a.pruned(ctx)
	if err != nil {
		return err
	}
	check.Looked = sums[""] + sums["pruned"]
	// Meanwhile more may have been pruned, and what was pruned may have been rolled back.
	least := before.instances - after.rolledBack
	most := after.instances - before.rolledBack
	if n := sums["pruned"]; n < least || n > most {
		a.note(check, map[string]string{"all": fmt.Sprintf(
			"%d live instances have no emission, and the emissions of %d were pruned", n, after.instances-after.rolledBack)})
	}
	return nil
}

func (a *audit) lineage(ctx context.Context, check *Check) error {
	sums, err := a.pages(ctx, check, "public.iu_collection_template_instance_lineage", `
		SELECT g.instance_collection_id::text, ''::text, 1, CASE
			WHEN (SELECT true FROM public.iu_piece_collection AS c WHERE c.id = g.instance_collection_id LIMIT 1) IS NULL
				THEN 'its collection is missing'
			WHEN g.template_collection_id IS NOT NULL
			 AND (SELECT true FROM public.iu_piece_collection AS c WHERE c.id = g.template_collection_id LIMIT 1) IS NULL
				THEN pg_catalog.format('its template %s is missing', g.template_collection_id) END
		FROM public.iu_collection_template_instance_lineage AS g
		WHERE g.ctid >= $1::text::tid AND g.ctid < $2::text::tid`)
	check.Looked = sums[""]
	return err
}

func (a *audit) memberships(ctx context.Context, check *Check) error {
	sums, err := a.pages(ctx, check, "public.iu_piece_membership", `
		SELECT m.collection_id || '/' || m.piece_id, ''::text, 1, CASE
			WHEN (SELECT true FROM public.iu_piece_collection AS c WHERE c.id = m.collection_id LIMIT 1) IS NULL
				THEN 'its collection is missing'
			WHEN (SELECT true FROM public.iu_piece AS p WHERE p.id = m.piece_id LIMIT 1) IS NULL THEN 'its piece is missing' END
		FROM public.iu_piece_membership AS m
		WHERE m.ctid >= $1::text::tid AND m.ctid < $2::text::tid`)
	check.Looked = sums[""]
	return err
}
