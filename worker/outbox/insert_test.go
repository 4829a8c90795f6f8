package outbox_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/worker/outbox"
)

func TestMain(m *testing.M) { iutest.Main(m) }

// whole returns an event with a value in each field.
func whole() outbox.Event {
	return outbox.Event{
		EventID: uuid.New(), EventType: "order.placed", TemplateCollectionID: uuid.New(), InstanceKeySuffix: "letter-" + uuid.NewString(),
		EmitMode: outbox.EmitDryRun, Actor: "ann", Note: "express", Priority: 3,
		AvailableAt:  time.Date(2031, 1, 2, 3, 4, 5, 6000, time.UTC),
		TraceContext: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

// least returns an event with the required fields alone.
func least() outbox.Event {
	return outbox.Event{EventType: "order.placed", TemplateCollectionID: uuid.New(), InstanceKeySuffix: "letter-" + uuid.NewString()}
}

// stored returns the event in a row.
func stored(t testing.TB, db *iutest.DB, id int64) outbox.Event {
	t.Helper()
	var e outbox.Event
	var note *string
	err := db.Pool.QueryRow(t.Context(), `
		SELECT event_id, event_type, template_collection_id, instance_key_suffix, emit_mode, actor, note, priority, available_at, trace_context
		FROM iu_outbox.event WHERE id = $1`, id).
		Scan(&e.EventID, &e.EventType, &e.TemplateCollectionID, &e.InstanceKeySuffix, &e.EmitMode, &e.Actor, &note, &e.Priority,
			&e.AvailableAt, &e.TraceContext)
	require.NoError(t, err)
	if note != nil {
		e.Note = *note
	}
	e.AvailableAt = e.AvailableAt.UTC()
	return e
}

// inserters are all functions that insert an event.
var inserters = map[string]func(ctx context.Context, db *iutest.DB, event outbox.Event) (outbox.Inserted, error){
	"Insert": func(ctx context.Context, db *iutest.DB, event outbox.Event) (inserted outbox.Inserted, err error) {
		err = pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
			inserted, err = outbox.Insert(ctx, tx, event)
			return err
		})
		return inserted, err
	},
	"InsertMany": func(ctx context.Context, db *iutest.DB, event outbox.Event) (inserted outbox.Inserted, err error) {
		err = pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
			many, err := outbox.InsertMany(ctx, tx, []outbox.Event{event})
			if err == nil {
				inserted = many[0]
			}
			return err
		})
		return inserted, err
	},
	"InsertSQL": func(ctx context.Context, db *iutest.DB, event outbox.Event) (outbox.Inserted, error) {
		pool, err := sql.Open("pgx", db.URL)
		if err != nil {
			return outbox.Inserted{}, err
		}
		defer pool.Close() //nolint:errcheck // the test is over
		tx, err := pool.BeginTx(ctx, nil)
		if err != nil {
			return outbox.Inserted{}, err
		}
		defer tx.Rollback() //nolint:errcheck // it may be committed
		inserted, err := outbox.InsertSQL(ctx, tx, event)
		if err != nil {
			return outbox.Inserted{}, err
		}
		return inserted, tx.Commit()
	},
}

func TestAnEventArrivesAsItIs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for name, insert := range inserters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event := whole()
			inserted, err := insert(t.Context(), db, event)
			require.NoError(t, err)
			require.Equal(t, event.EventID, inserted.EventID)
			require.Len(t, inserted.IdempotencyKey, 32)
			require.WithinDuration(t, time.Now(), inserted.CreatedAt, time.Minute)
			require.Equal(t, event, stored(t, db, inserted.ID))
		})
	}
}

func TestDefaultsAreTheTables(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for name, insert := range inserters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event := least()
			inserted, err := insert(t.Context(), db, event)
			require.NoError(t, err)
			require.NotZero(t, inserted.EventID)
			event.EventID, event.EmitMode, event.Actor, event.Priority = inserted.EventID, outbox.EmitLive, "postgres", 1
			event.AvailableAt, event.TraceContext = inserted.CreatedAt.UTC(), map[string]string{}
			require.Equal(t, event, stored(t, db, inserted.ID))
		})
	}
}

func TestAnInvalidEventNamesItsField(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	long := strings.Repeat("ä", 201)
	for field, test := range map[string]struct {
		spoil  func(*outbox.Event)
		reason string
	}{
		"event_type":          {func(e *outbox.Event) { e.EventType = " " }, "must not be blank"},
		"instance_key_suffix": {func(e *outbox.Event) { e.InstanceKeySuffix = long }, "must not exceed 200 characters"},
		"emit_mode":           {func(e *outbox.Event) { e.EmitMode = "loud" }, "must be dry run or live"},
		"actor":               {func(e *outbox.Event) { e.Actor = long }, "must not exceed 200 characters"},
		"note":                {func(e *outbox.Event) { e.Note = strings.Repeat("n", 2001) }, "must not exceed 2000 characters"},
		"priority":            {func(e *outbox.Event) { e.Priority = 5 }, "must be 1 to 4"},
		"available_at":        {func(e *outbox.Event) { e.AvailableAt = time.Date(9999, 6, 1, 0, 0, 0, 0, time.UTC) }, "must be between 1970 and 9999"},
		"event_type ":         {func(e *outbox.Event) { e.EventType = "order\xff" }, "must be valid UTF-8 without NUL"},
		"note ":               {func(e *outbox.Event) { e.Note = "a\x00b" }, "must be valid UTF-8 without NUL"},
		"trace_context":       {func(e *outbox.Event) { e.TraceContext["x"] = strings.Repeat("x", 5000) }, "must not exceed 4096 bytes"},
	} {
		for name, insert := range inserters {
			t.Run(field+"/"+name, func(t *testing.T) {
				t.Parallel()
				event := whole()
				test.spoil(&event)
				_, err := insert(t.Context(), db, event)
				var invalid *outbox.InvalidError
				require.ErrorAs(t, err, &invalid)
				require.Equal(t, strings.TrimSpace(field), invalid.Field)
				require.Equal(t, test.reason, invalid.Reason)
				require.ErrorContains(t, err, invalid.Field+" "+test.reason)
			})
		}
	}
}

func TestOtherErrorsStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "DROP TABLE iu_outbox.event CASCADE")
	for name, insert := range inserters {
		_, err := insert(t.Context(), db, least())
		var invalid *outbox.InvalidError
		require.NotErrorAs(t, err, &invalid, name)
		require.ErrorContains(t, err, "42P01", name)
	}
}

func TestInsertManyKeepsTheOrder(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	events := make([]outbox.Event, 3000)
	for i := range events {
		if events[i] = least(); i%2 == 0 {
			events[i] = whole()
		}
	}
	var rows []outbox.Inserted
	require.NoError(t, pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) (err error) {
		rows, err = outbox.InsertMany(t.Context(), tx, events)
		return err
	}))
	require.Len(t, rows, len(events))
	for i, row := range rows {
		if i > 0 {
			require.Greater(t, row.ID, rows[i-1].ID)
		}
		if i%500 == 0 {
			require.Equal(t, events[i], stored(t, db, row.ID))
		}
	}
	none, err := outbox.InsertMany(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestAnEventIsPartOfItsTransaction(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	tx, err := db.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = outbox.Insert(t.Context(), tx, least())
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
	var n int
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM iu_outbox.event").Scan(&n))
	require.Zero(t, n)
}

// Connections through a transaction pooler use other modes of the protocol.
func TestEveryModeOfTheProtocolDoes(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			cfg, err := pgx.ParseConfig(db.URL)
			require.NoError(t, err)
			cfg.DefaultQueryExecMode = mode
			conn, err := pgx.ConnectConfig(t.Context(), cfg)
			require.NoError(t, err)
			defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
			events := []outbox.Event{whole(), least(), whole()}
			events[0].Note = `it's "quoted" \ {1,NULL}`
			require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
				for _, event := range events {
					if _, err := outbox.Insert(t.Context(), tx, event); err != nil {
						return err
					}
				}
				rows, err := outbox.InsertMany(t.Context(), tx, events)
				if err == nil {
					require.Len(t, rows, 3)
				}
				return err
			}))
			var note string
			require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT DISTINCT note FROM iu_outbox.event WHERE event_id = $1", events[0].EventID).Scan(&note))
			require.Equal(t, events[0].Note, note)
		})
	}
}

func TestApplicationsMayInsert(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	conn, err := pgx.Connect(t.Context(), db.URLAs("iu_app"))
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		if _, err := outbox.Insert(t.Context(), tx, whole()); err != nil {
			return err
		}
		_, err := outbox.InsertMany(t.Context(), tx, []outbox.Event{least(), whole()})
		return err
	}))
}

// An event gets the trace of the span in which it is inserted, unless its TraceContext is set.
func TestTheTraceOfTheContextGoesAlong(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": traceparent})
	for name, insert := range inserters {
		inserted, err := insert(ctx, db, least())
		require.NoError(t, err, name)
		require.Equal(t, map[string]string{"traceparent": traceparent}, stored(t, db, inserted.ID).TraceContext, name)

		own := whole()
		inserted, err = insert(ctx, db, own)
		require.NoError(t, err, name)
		require.Equal(t, own.TraceContext, stored(t, db, inserted.ID).TraceContext, name)

		none := least()
		none.TraceContext = map[string]string{}
		inserted, err = insert(ctx, db, none)
		require.NoError(t, err, name)
		require.Empty(t, stored(t, db, inserted.ID).TraceContext, name)
	}
}
