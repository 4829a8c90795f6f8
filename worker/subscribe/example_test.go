package subscribe_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// A subscriber without a name reads the events that are kept and then waits for new ones, until ctx ends. Here it ends after two
// events.
func ExampleRun() {
	ctx, pool, done := exampleDatabase(2)
	defer done()

	err := subscribe.Run(ctx, subscribe.Config{
		Pool:  pool,
		From:  subscribe.Beginning(),
		Limit: 2,
	}, func(_ context.Context, event subscribe.Event) error {
		fmt.Println(event.Cursor.Position, event.Subject, "of", event.Data.TemplateKey)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 1 tpl-inst:auto:s-1 of tpl:invoice
	// 2 tpl-inst:auto:s-2 of tpl:invoice
	// <nil>
}

// A durable consumer continues where it stopped, in any process. An event that cannot be handled becomes a dead letter after
// three tries, and the consumer continues with the next one.
func ExampleRun_consumer() {
	ctx, pool, done := exampleDatabase(3)
	defer done()

	cfg := subscribe.Config{
		Pool:     pool,
		Consumer: "mail",
		Filter:   subscribe.Filter{Templates: []string{"tpl:invoice"}},
		Limit:    2,
		Retry:    subscribe.Retry{MaxTries: 3, OnExhausted: subscribe.DeadLetter, Backoff: 1},
		Logger:   slog.New(slog.DiscardHandler),
	}
	send := func(_ context.Context, event subscribe.Event) error {
		if event.RolledBack() {
			return nil // the instance no longer exists
		}
		if event.Cursor.Position == 2 {
			return errors.New("no such address")
		}
		fmt.Println("mail for", event.Data.InstanceKey)
		return nil
	}
	fmt.Println(subscribe.Run(ctx, cfg, send))

	letters, err := subscribe.ListDeadLetters(ctx, pool, "mail", 10)
	fmt.Println(len(letters), letters[0].Event.Subject, letters[0].Error, err)
	// Output:
	// mail for tpl-inst:auto:s-1
	// mail for tpl-inst:auto:s-3
	// <nil>
	// 1 tpl-inst:auto:s-2 no such address <nil>
}

// The effect is in the same database. It is committed together with the cursor, and so happens once per event.
func ExampleRunTx() {
	ctx, pool, done := exampleDatabase(3)
	defer done()
	_, err := pool.Exec(ctx, "CREATE TABLE invoice (instance text PRIMARY KEY)")
	if err != nil {
		fmt.Println(err)
		return
	}

	err = subscribe.RunTx(ctx, subscribe.Config{Pool: pool, Consumer: "invoices", Limit: 3},
		func(ctx context.Context, tx pgx.Tx, events []subscribe.Event) error {
			for _, event := range events {
				if _, err := tx.Exec(ctx, "INSERT INTO invoice VALUES ($1)", event.Data.InstanceKey); err != nil {
					return err
				}
			}
			return nil
		})
	fmt.Println(err)

	var invoices int
	err = pool.QueryRow(ctx, "SELECT count(*) FROM invoice").Scan(&invoices)
	fmt.Println(invoices, err)
	// Output:
	// <nil>
	// 3 <nil>
}

// A reader that stores its own cursors gets an error if its place is no longer part of the history.
func ExampleRewoundError() {
	ctx, pool, done := exampleDatabase(3)
	defer done()
	cursor, err := subscribe.ParseCursor("0a1b2c3d-17") // from another database
	if err != nil {
		fmt.Println(err)
		return
	}

	handler := func(context.Context, subscribe.Event) error { return nil }
	err = subscribe.Run(ctx, subscribe.Config{Pool: pool, From: subscribe.After(cursor)}, handler)
	if rewound, ok := errors.AsType[*subscribe.RewoundError](err); ok {
		fmt.Println("lost", rewound.Cursor, "and today's history ends at position", rewound.End.Position)
	}
	// Output:
	// lost 0a1b2c3d-17 and today's history ends at position 3
}

// exampleDatabase returns a database with n events.
func exampleDatabase(n int) (context.Context, *pgxpool.Pool, func()) {
	t := &exampleT{}
	b := &bundle{DB: iutest.New(t)}
	b.OpenGates(t)
	b.template = b.Template(t, "tpl:invoice", 1)
	for range n {
		b.Exec(t, composeSQL, "order.paid", b.template, uniqueSuffix(b.composed.Add(1)), "billing")
	}
	b.Exec(t, "SELECT iu_outbox.emit(500)")
	return t.Context(), b.Pool, t.done
}

// exampleT is a testing.TB for helpers of tests: examples have no testing.T.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (*exampleT) Helper()                           {}
func (*exampleT) Context() context.Context          { return context.Background() }
func (*exampleT) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*exampleT) FailNow()                          { panic("the example failed") }
func (t *exampleT) Cleanup(f func())                { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) done() {
	for len(t.cleanups) > 0 {
		last := len(t.cleanups) - 1
		f := t.cleanups[last]
		t.cleanups = t.cleanups[:last]
		f()
	}
}
