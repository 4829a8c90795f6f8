package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// startValue is where in the history to begin: beginning, now, a cursor, a time, or how long ago.
type startValue struct {
	to   *subscribe.Start
	text string
}

// Set implements pflag.Value.
func (v *startValue) Set(text string) error {
	start, err := parseStart(text)
	if err == nil {
		*v.to, v.text = start, text
	}
	return err
}

func parseStart(text string) (subscribe.Start, error) {
	switch text {
	case "beginning":
		return subscribe.Beginning(), nil
	case "now":
		return subscribe.Now(), nil
	}
	if cursor, err := subscribe.ParseCursor(text); err == nil {
		return subscribe.After(cursor), nil
	}
	if since, err := subscribe.ParseSince(text, time.Now()); err == nil {
		return subscribe.Since(since), nil
	}
	return subscribe.Start{}, errors.New("it must be beginning, now, a cursor as events carry it, a position, " +
		"a time such as 2026-12-31T18:00:00Z, or how long ago, such as 2h")
}

// String implements pflag.Value.
func (v *startValue) String() string { return v.text }

// Type implements pflag.Value.
func (*startValue) Type() string { return "cursor|beginning|now" }

type consumerMoved struct {
	Consumer string           `json:"consumer"`
	From     subscribe.Cursor `json:"from"`
	To       subscribe.Cursor `json:"to"`
}

func (a *app) consumersResetCommand() *cobra.Command {
	var asJSON bool
	var to subscribe.Start
	cmd := &cobra.Command{
		Use:   "reset NAME --to CURSOR|beginning|now",
		Short: "Move a consumer to another place, back or forward",
		Long: `Moves a consumer's cursor: back, and it gets events again; forward, and it never gets those in between. A process that
works for it goes on from there after what it is handling now. Its last error is forgotten.`,
		Args: oneConsumer,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := required(cmd, "to"); err != nil {
				return err
			}
			return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
				moved, err := resetConsumer(ctx, pool, args[0], to)
				if err != nil {
					return err
				}
				return a.print(asJSON, moved, func(w io.Writer) {
					fmt.Fprintf(w, "consumer %s is at %s now, and was at %s\n", moved.Consumer, moved.To, moved.From)
				})
			})
		},
	}
	cmd.Flags().Var(&startValue{to: &to}, "to", "after this cursor or position, at the beginning of what is kept, after the last event, "+
		"or before the first event since a time or so long ago")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// resetConsumer leaves an audit line in the same transaction.
func resetConsumer(ctx context.Context, pool *pgxpool.Pool, name string, to subscribe.Start) (consumerMoved, error) {
	moved := consumerMoved{Consumer: name}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		before, err := findConsumer(ctx, tx, name)
		if err != nil {
			return err
		}
		moved.From = before.Cursor
		if moved.To, err = subscribe.ResetConsumer(ctx, tx, name, to); err != nil {
			return err
		}
		_, err = operate.RecordAudit(ctx, tx, systemUser(), "consumer.reset", moved)
		return err
	})
	return moved, err
}

func (a *app) consumersDeleteCommand() *cobra.Command {
	var asJSON, force bool
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Forget a consumer: its cursor and its dead letters",
		Args:  oneConsumer,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
				if err := deleteConsumer(ctx, pool, args[0], force); err != nil {
					return err
				}
				return a.print(asJSON, map[string]string{"deleted": args[0]}, func(w io.Writer) {
					fmt.Fprintf(w, "consumer %s is deleted; a subscriber of that name begins anew\n", args[0])
				})
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also where a process works for it or it has dead letters: they are lost")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func deleteConsumer(ctx context.Context, pool *pgxpool.Pool, name string, force bool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := subscribe.DeleteConsumer(ctx, tx, name, force); err != nil {
			return err
		}
		_, err := operate.RecordAudit(ctx, tx, systemUser(), "consumer.delete", map[string]any{"consumer": name, "force": force})
		return err
	})
}
