package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/worker/outbox"
)

const suffixMax = 200

func (a *app) enqueueCommand() *cobra.Command {
	var template string
	var delay time.Duration
	event := outbox.Event{EventType: "iuworker.enqueue", EmitMode: outbox.EmitLive, Priority: 1}
	cmd := &cobra.Command{
		Use:     "enqueue --template TEMPLATE",
		Short:   "Insert one event into the outbox",
		Example: `  iuworker enqueue --template welcome-letter --event-id 0b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10 --event-type order.placed`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
				return a.enqueue(ctx, pool, template, event, delay)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(textValue(&template, 1000), "template", "collection key or id of the template")
	flags.Var(uuidValue(&event.EventID), "event-id", "your id of what happened; a repeated id is the same event (default a new one)")
	flags.Var(textValue(&event.EventType, 200), "event-type", "what happened")
	flags.Var(textValue(&event.InstanceKeySuffix, suffixMax), "suffix",
		"suffix of the instance's key tpl-inst:auto:SUFFIX; suffixes are global (default TEMPLATE-EVENT_ID)")
	flags.Var(choiceValue(&event.EmitMode, outbox.EmitLive, outbox.EmitDryRun), "emit-mode",
		"live announces the instance, dry_run only composes it")
	auditFlag(cmd, &event.Actor)
	flags.Var(textValue(&event.Note, 2000), "note", "note for the instance")
	flags.Var(intValue(&event.Priority, 1, 4), "priority", "priority, from 1 (highest) to 4 (lowest)")
	flags.Var(timeValue(&event.AvailableAt), "available-at", "compose at this time or later")
	flags.Var(durationValue(&delay, 0, 10*365*day), "in", "compose after this delay")
	requireFlags(cmd, "template")
	excludeFlags(cmd, "in", "available-at")
	return a.withJSON(cmd)
}

func (a *app) enqueue(ctx context.Context, pool *pgxpool.Pool, reference string, event outbox.Event, delay time.Duration) error {
	template, err := resolveTemplate(ctx, pool, reference)
	if err != nil {
		return err
	}
	event.TemplateCollectionID = template.ID
	if event.EventID == uuid.Nil {
		event.EventID = uuid.New()
	}
	if event.InstanceKeySuffix == "" {
		event.InstanceKeySuffix = template.Key + "-" + event.EventID.String()
		if len([]rune(event.InstanceKeySuffix)) > suffixMax {
			return fmt.Errorf("the template's key is too long for a suffix: give --suffix")
		}
	}
	event.Actor = cmp.Or(event.Actor, systemUser())
	if delay > 0 {
		if event.AvailableAt, err = databaseTime(ctx, pool, delay); err != nil {
			return err
		}
	}
	var inserted outbox.Inserted
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		inserted, err = outbox.Insert(ctx, tx, event)
		return err
	})
	if err != nil {
		return err
	}
	return a.print(inserted, func(w io.Writer) {
		columns(w, func(w io.Writer) {
			fmt.Fprintf(w, "event id\t%s\n", inserted.EventID)
			fmt.Fprintf(w, "idempotency key\t%s\n", inserted.IdempotencyKey)
			fmt.Fprintf(w, "outbox id\t%d\n", inserted.ID)
		})
	})
}

// resolveTemplate returns a template by key or id. It accepts an id of no template: the event's job reports it, as it does
// for applications.
func resolveTemplate(ctx context.Context, pool *pgxpool.Pool, reference string) (templates.Template, error) {
	template, err := templates.Find(ctx, pool, reference)
	if id, parseErr := uuid.Parse(reference); err != nil && parseErr == nil && isNoTemplate(err) {
		return templates.Template{ID: id, Key: id.String()}, nil
	}
	return template, err
}

// databaseTime returns the time after a delay by the clock of the database, which the worker uses.
func databaseTime(ctx context.Context, pool *pgxpool.Pool, after time.Duration) (time.Time, error) {
	var at time.Time
	if err := pool.QueryRow(ctx, "SELECT pg_catalog.now() + $1::interval", after).Scan(&at); err != nil {
		return at, fmt.Errorf("ask the database for the time: %w", err)
	}
	return at, nil
}
