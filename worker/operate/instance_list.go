package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// RecentInstance is an instance that was composed lately.
type RecentInstance struct {
	ID          uuid.UUID `json:"instance_collection_id"`
	Key         string    `json:"instance_key"`
	TemplateKey string    `json:"template_key"`
	EmitMode    string    `json:"emit_mode"`
	Actor       string    `json:"actor"`
	CreatedAt   time.Time `json:"created_at"`
	DigestMatch *bool     `json:"digest_match"`
	Position    *int64    `json:"position"` // nil: not announced
	JobID       *int64    `json:"job_id"`   // nil: composed by another path, or forgotten
}

// RecentInstances returns up to limit instances, youngest first: those that were announced or are to be, and those of
// the jobs that ended last. A dry run by another path than a job is not among them: no index leads to it. Nearly all jobs are of
// our kind, which the planner does not know of new ones: what is added to the kind keeps it from River's index on that.
func RecentInstances(ctx context.Context, q Querier, limit int) ([]RecentInstance, error) {
	rows, err := q.Query(ctx, `
		WITH job AS (
			SELECT (j.metadata #>> '{output,instance_collection_id}')::uuid AS instance_id
			FROM (SELECT j.metadata FROM iu_river.river_job AS j
			      WHERE j.state = 'completed' AND j.finalized_at IS NOT NULL AND j.kind || '' = 'auto_instantiate'
			      ORDER BY j.finalized_at DESC LIMIT $1) AS j
			WHERE j.metadata #>> '{output,status}' IN ('instantiated', 'idempotent_replay')
		), recent AS (
			SELECT e.instance_collection_id AS id
			FROM (SELECT e.instance_collection_id FROM iu_outbox.emission AS e ORDER BY e.id DESC LIMIT $1) AS e
			UNION
			SELECT j.instance_id FROM job AS j
		), newest AS MATERIALIZED (
			SELECT l.* FROM public.iu_auto_instantiate_event_log AS l
			WHERE l.instance_collection_id IN (SELECT r.id FROM recent AS r)
			ORDER BY l.created_at DESC
			LIMIT $1
		)
		SELECT v.instance_collection_id, v.instance_key, v.template_key, v.emit_mode, v.triggered_by, v.created_at,
			v.digest_match, e.position, (
				SELECT pg_catalog.min(j.id + 0) FROM iu_river.river_job AS j
				WHERE j.kind || '' = 'auto_instantiate' AND j.args @> pg_catalog.jsonb_build_object('idempotency_key', v.idempotency_key))
		FROM newest AS n
		JOIN public.v_iu_auto_instantiate_event_log AS v ON v.instance_collection_id = n.instance_collection_id
		LEFT JOIN iu_outbox.emission AS e ON e.instance_collection_id = v.instance_collection_id
		ORDER BY v.created_at DESC, v.instance_key`, limit)
	if err != nil {
		return nil, fmt.Errorf("list recent instances: %w", err)
	}
	instances, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RecentInstance])
	if err != nil {
		return nil, fmt.Errorf("list recent instances: %w", err)
	}
	return instances, nil
}
