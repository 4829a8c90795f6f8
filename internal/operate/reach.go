package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// reachSample is how many instances a Reach names.
const reachSample = 20

// recentEmissions is how many of the newest emissions RecentActors reads.
const recentEmissions = 2000

// Reach says how far an actor's instances have spread: who has received them already.
type Reach struct {
	Instances int64           `json:"instances"`
	Announced int64           `json:"announced"` // their emissions stay, marked as rolled back
	Waiting   int64           `json:"waiting"`   // not announced yet, and never will be
	ToCome    int64           `json:"to_come"`   // events that are not composed yet; a rollback leaves them
	Consumers []ReachConsumer `json:"consumers"`
	Templates []ReachTemplate `json:"templates"` // up to fifty, those with the most instances first
	Sample    []ReachInstance `json:"sample"`    // twenty, announced ones first, by instance key
}

// ReachConsumer says how many of the announced instances a consumer has received; nil if its position is not known.
type ReachConsumer struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Received *int64 `json:"received"`
}

// ReachTemplate counts the instances of a template.
type ReachTemplate struct {
	Key       string `json:"template_key"`
	Instances int64  `json:"instances"`
}

// ReachInstance is an instance of the actor.
type ReachInstance struct {
	ID          uuid.UUID `json:"instance_collection_id"`
	Key         string    `json:"instance_key"`
	TemplateKey string    `json:"template_key"`
	EmitMode    string    `json:"emit_mode"`
	CreatedAt   time.Time `json:"created_at"`
	Position    *int64    `json:"position"` // nil: not announced
}

// RollbackReach returns the reach of the instances that a rollback of an actor deletes.
func RollbackReach(ctx context.Context, q Querier, actor string) (Reach, error) {
	var reach Reach
	err := q.QueryRow(ctx, `
		SELECT pg_catalog.count(*), pg_catalog.count(e.position), pg_catalog.count(*) FILTER (WHERE e.id IS NOT NULL AND e.position IS NULL),
		       (SELECT pg_catalog.count(*) FROM iu_outbox.event AS o WHERE o.actor = $1)
		     + (SELECT pg_catalog.count(*) FROM iu_outbox.job AS j WHERE j.unfinished AND j.event ->> 'actor' = $1)
		FROM public.iu_auto_instantiate_event_log AS l
		LEFT JOIN iu_outbox.emission AS e ON e.instance_collection_id = l.instance_collection_id
		WHERE l.triggered_by = $1`, actor).Scan(&reach.Instances, &reach.Announced, &reach.Waiting, &reach.ToCome)
	if err != nil {
		return reach, fmt.Errorf("count the instances of %q: %w", actor, err)
	}
	if reach.Consumers, err = reachConsumers(ctx, q, actor); err != nil {
		return reach, fmt.Errorf("list the consumers that received instances of %q: %w", actor, err)
	}
	if reach.Templates, err = reachTemplates(ctx, q, actor); err != nil {
		return reach, fmt.Errorf("count the instances of %q by template: %w", actor, err)
	}
	if reach.Sample, err = reachInstances(ctx, q, actor); err != nil {
		return reach, fmt.Errorf("list the instances of %q: %w", actor, err)
	}
	return reach, nil
}

// reachConsumers counts by position: a cursor of an earlier epoch has received everything up to the end of that epoch.
func reachConsumers(ctx context.Context, q Querier, actor string) ([]ReachConsumer, error) {
	return Collect(ctx, q, pgx.RowToStructByPos[ReachConsumer], `
		WITH announced AS MATERIALIZED (
			SELECT e.position
			FROM public.iu_auto_instantiate_event_log AS l
			JOIN iu_outbox.emission AS e ON e.instance_collection_id = l.instance_collection_id
			WHERE l.triggered_by = $1 AND e.position IS NOT NULL
		)
		SELECT c.name, c.state, CASE WHEN c.state IN ('ok', 'pruned') THEN (
			SELECT pg_catalog.count(*) FROM announced AS a WHERE a.position <= c.position) END
		FROM iu_outbox.consumer_status AS c
		ORDER BY c.name
		LIMIT 100`, actor)
}

func reachInstances(ctx context.Context, q Querier, actor string) ([]ReachInstance, error) {
	return Collect(ctx, q, pgx.RowToStructByPos[ReachInstance], `
		SELECT l.instance_collection_id, i.collection_key, t.collection_key, l.emit_mode, l.created_at, e.position
		FROM public.iu_auto_instantiate_event_log AS l
		JOIN public.iu_piece_collection AS i ON i.id = l.instance_collection_id
		JOIN public.iu_piece_collection AS t ON t.id = l.template_collection_id
		LEFT JOIN iu_outbox.emission AS e ON e.instance_collection_id = l.instance_collection_id
		WHERE l.triggered_by = $1
		ORDER BY e.position IS NULL, i.collection_key
		LIMIT $2`, actor, reachSample)
}

func reachTemplates(ctx context.Context, q Querier, actor string) ([]ReachTemplate, error) {
	return Collect(ctx, q, pgx.RowToStructByPos[ReachTemplate], `
		SELECT c.collection_key, l.n
		FROM (SELECT l.template_collection_id, pg_catalog.count(*) AS n
		      FROM public.iu_auto_instantiate_event_log AS l WHERE l.triggered_by = $1
		      GROUP BY l.template_collection_id ORDER BY 2 DESC LIMIT 50) AS l
		JOIN public.iu_piece_collection AS c ON c.id = l.template_collection_id
		ORDER BY l.n DESC, c.collection_key`, actor)
}

// RecentActors returns the actors of the last two thousand live instances, the latest first.
func RecentActors(ctx context.Context, q Querier, limit int) ([]string, error) {
	actors, err := Collect(ctx, q, pgx.RowTo[string], `
		SELECT l.triggered_by
		FROM (SELECT e.id, e.instance_collection_id FROM iu_outbox.emission AS e ORDER BY e.id DESC LIMIT $2) AS e
		JOIN public.iu_auto_instantiate_event_log AS l ON l.instance_collection_id = e.instance_collection_id
		GROUP BY l.triggered_by ORDER BY pg_catalog.max(e.id) DESC LIMIT $1`, limit, recentEmissions)
	if err != nil {
		return nil, fmt.Errorf("list recent actors: %w", err)
	}
	return actors, nil
}
