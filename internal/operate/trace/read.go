package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

const rowLimit = 50 // rows of each kind

// reader collects events by idempotency key.
type reader struct {
	tx     pgx.Tx
	events map[string]*Event
}

// identity identifies the event that a row belongs to.
type identity struct {
	Key      string
	Event    uuid.UUID
	Template uuid.UUID
	Suffix   string
}

func identityOf(args jobs.AutoInstantiateArgs) identity {
	return identity{args.IdempotencyKey, args.EventID, args.TemplateCollectionID, args.InstanceKeySuffix}
}

// event returns the Event of a key. The first row with an event id fills in the rest of the identity.
func (r *reader) event(of identity) *Event {
	event := r.events[of.Key]
	if event == nil {
		event = &Event{IdempotencyKey: of.Key}
		r.events[of.Key] = event
	}
	if event.EventID == nil && of.Event != uuid.Nil {
		event.EventID, event.TemplateID, event.InstanceKeySuffix = &of.Event, &of.Template, of.Suffix
	}
	return event
}

func (r *reader) read(ctx context.Context, reference string) error {
	by, err := r.resolve(ctx, reference)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, read := range []func(context.Context, target) error{r.readOutbox, r.readJobs, r.readInstances, r.readDeadLetters} {
		if err := read(ctx, by); err != nil {
			return err
		}
	}
	for _, event := range r.events {
		if err := r.readEmission(ctx, event, by); err != nil {
			return err
		}
		if err := r.readState(ctx, event); err != nil {
			return err
		}
		if event.Waits, err = r.waits(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) readOutbox(ctx context.Context, by target) error {
	type row struct {
		identity
		OutboxRow
	}
	column, value := by.column()
	rows, err := operate.Collect(ctx, r.tx, pgx.RowToStructByPos[row], `
		SELECT idempotency_key, event_id, template_collection_id, instance_key_suffix,
			id, event_type, emit_mode, actor, priority, available_at, created_at
		FROM iu_outbox.event WHERE `+column+` = $1 ORDER BY id LIMIT $2`, value, rowLimit)
	for _, row := range rows {
		event := r.event(row.identity)
		event.Outbox = append(event.Outbox, row.OutboxRow)
	}
	return err
}

func (r *reader) readJobs(ctx context.Context, by target) error {
	column, value := by.column()
	found, err := operate.Collect(ctx, r.tx, scanJob, `
		SELECT j.id, j.queue, q.paused_at IS NOT NULL, j.state::text, j.attempt, j.max_attempts, j.created_at, j.scheduled_at,
			j.attempted_at, j.finalized_at, j.worker, j.cancellable, j.unfinished, j.retrying, j.reason,
			j.errors, j.event, j.output, j.parked, j.retry
		FROM iu_outbox.job AS j
		LEFT JOIN iu_river.river_queue AS q ON q.name = j.queue
		WHERE j.`+column+` = $1
		ORDER BY j.id DESC LIMIT $2`, value, rowLimit)
	for _, job := range found {
		event := r.event(identityOf(job.Args))
		event.Jobs = append(event.Jobs, job)
	}
	return err
}

// scanJob leaves out JSON that does not fit: another program wrote it.
func scanJob(row pgx.CollectableRow) (j Job, err error) {
	var args, output, parked, retry []byte
	var failures [][]byte
	err = row.Scan(&j.ID, &j.Queue, &j.QueuePaused, &j.State, &j.Attempt, &j.MaxAttempts, &j.CreatedAt, &j.ScheduledAt,
		&j.AttemptedAt, &j.FinalizedAt, &j.Worker, &j.Cancellable, &j.unfinished, &j.retrying, &j.reason,
		&failures, &args, &output, &parked, &retry)
	if err != nil {
		return j, err
	}
	_ = json.Unmarshal(args, &j.Args)
	_ = json.Unmarshal(output, &j.Output)
	_ = json.Unmarshal(parked, &j.Parked)
	_ = json.Unmarshal(retry, &j.Retry)
	for _, text := range failures {
		var failure Failure
		if json.Unmarshal(text, &failure) == nil {
			j.Errors = append(j.Errors, failure)
		}
	}
	return j, nil
}

func (r *reader) readInstances(ctx context.Context, by target) error {
	type row struct {
		identity
		Instance
	}
	column, value := by.column()
	rows, err := operate.Collect(ctx, r.tx, pgx.RowToStructByPos[row], `
		SELECT v.idempotency_key, v.event_id, v.template_collection_id,
			pg_catalog.substr(v.instance_key, pg_catalog.length('tpl-inst:auto:') + 1),
			v.instance_collection_id, v.instance_key, v.instance_title, v.event_type, v.emit_mode, v.triggered_by, v.created_at,
			g.template_version, g.template_digest, v.template_digest, v.instance_digest, v.digest_match
		FROM public.v_iu_auto_instantiate_event_log AS v
		LEFT JOIN public.iu_collection_template_instance_lineage AS g ON g.instance_collection_id = v.instance_collection_id
		WHERE v.`+column+` = $1 LIMIT $2`, value, rowLimit)
	for i := range rows {
		r.event(rows[i].identity).Instance = &rows[i].Instance
	}
	return err
}

func (r *reader) readDeadLetters(ctx context.Context, by target) error {
	letters, err := operate.DeadLetters(ctx, r.tx, operate.Selection{EventID: by.event, IdempotencyKey: by.key}, 0, rowLimit)
	for _, letter := range letters {
		var args jobs.AutoInstantiateArgs
		_ = json.Unmarshal(letter.Event, &args) // an event that does not fit is read from its dead letter alone
		args.IdempotencyKey = *cmp.Or(letter.IdempotencyKey, new(string))
		event := r.event(identityOf(args))
		event.DeadLetters = append(event.DeadLetters, letter)
	}
	return err
}

// readEmission reads the announcement of the instance, or of the last known one, which may be rolled back.
func (r *reader) readEmission(ctx context.Context, event *Event, by target) error {
	id := by.instance
	if event.Instance != nil {
		id = event.Instance.ID
	}
	for _, job := range event.Jobs {
		if id == uuid.Nil && job.Output != nil && job.Output.InstanceCollectionID != nil {
			id = *job.Output.InstanceCollectionID
		}
	}
	emissions, err := operate.Collect(ctx, r.tx, pgx.RowToAddrOfStructByPos[Emission], `
		SELECT e.instance_collection_id, e.position, COALESCE(e.event ->> 'cursor', ''), e.event, e.created_at, e.emitted_at,
			e.rolled_back_at
		FROM iu_outbox.emission_event AS e WHERE e.instance_collection_id = $1`, id)
	if err != nil || len(emissions) == 0 {
		return err
	}
	event.Emission = emissions[0]
	if event.Emission.Position == nil {
		return nil
	}
	event.Consumers, err = operate.Collect(ctx, r.tx, pgx.RowToStructByPos[Consumer], `
		SELECT c.name, c.position, c.state, CASE WHEN c.state IN ('ok', 'pruned') THEN c.position >= $1 END
		FROM iu_outbox.consumer_status AS c ORDER BY c.name LIMIT 100`, *event.Emission.Position)
	return err
}

// readState reads the state and the template's key, which is nil if an application named a template that does not exist.
func (r *reader) readState(ctx context.Context, event *Event) error {
	err := r.tx.QueryRow(ctx, `
		SELECT COALESCE((SELECT f.state FROM iu_outbox.find_event($1) AS f WHERE f.idempotency_key = $2), $3),
			(SELECT c.collection_key FROM public.iu_piece_collection AS c WHERE c.id = $4)`,
		event.EventID, event.IdempotencyKey, operate.EventGone, event.TemplateID).Scan(&event.State, &event.TemplateKey)
	switch {
	case err != nil || event.State != operate.EventGone:
	case len(event.DeadLetters) > 0: // it has no event id
		event.State = operate.EventDead
	case event.Emission != nil && event.Emission.RolledBackAt != nil:
		event.State = operate.EventRolledBack
	}
	return err
}
