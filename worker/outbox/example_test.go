package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/outbox"
)

// The event is inserted in the transaction that makes it true.
func ExampleInsert() {
	ctx, pool, letter, done := exampleDatabase()
	defer done()

	orderID := uuid.MustParse("0b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10")
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", orderID); err != nil {
			return err
		}
		_, err := outbox.Insert(ctx, tx, outbox.Event{
			EventID:              orderID, // inserted twice, it is still one event
			EventType:            "order.placed",
			TemplateCollectionID: letter,
			InstanceKeySuffix:    "welcome-letter-" + orderID.String(),
			Actor:                "shop",
		})
		return err
	})
	fmt.Println(err)

	var state string
	err = pool.QueryRow(ctx, "SELECT state FROM iu_outbox.event_state($1)", orderID).Scan(&state)
	fmt.Println(state, err)
	// Output:
	// <nil>
	// waiting <nil>
}

// InsertMany inserts many events by one statement.
func ExampleInsertMany() {
	ctx, pool, letter, done := exampleDatabase()
	defer done()

	var events []outbox.Event
	for n := 1; n <= 1000; n++ {
		events = append(events, outbox.Event{
			EventType:            "customer.imported",
			TemplateCollectionID: letter,
			InstanceKeySuffix:    fmt.Sprintf("welcome-letter-customer-%d", n),
		})
	}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		inserted, err := outbox.InsertMany(ctx, tx, events)
		fmt.Println(len(inserted))
		return err
	})
	fmt.Println(err)
	// Output:
	// 1000
	// <nil>
}

// The outbox refuses an event that could never be composed, in the statement that inserts it.
func ExampleInvalidError() {
	ctx, pool, letter, done := exampleDatabase()
	defer done()

	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := outbox.Insert(ctx, tx, outbox.Event{EventType: "order.placed", TemplateCollectionID: letter})
		return err
	})
	if invalid, ok := errors.AsType[*outbox.InvalidError](err); ok {
		fmt.Println(invalid.Field, "|", invalid.Reason)
	}
	// Output:
	// instance_key_suffix | must not be blank
}

// exampleDatabase returns an application's database with a template.
func exampleDatabase() (context.Context, *pgxpool.Pool, uuid.UUID, func()) {
	t := &exampleT{}
	db := iutest.New(t)
	db.Exec(t, "CREATE TABLE orders (id uuid PRIMARY KEY)")
	return t.Context(), db.Pool, db.Template(t, "welcome-letter", 3), t.done
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
