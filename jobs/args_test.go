package jobs_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

func TestMain(m *testing.M) { iutest.Main(m) }

func event(template uuid.UUID, suffix string) jobs.AutoInstantiateArgs {
	return jobs.AutoInstantiateArgs{
		EventID: uuid.New(), EventType: "e", TemplateCollectionID: template, InstanceKeySuffix: suffix,
		EmitMode: "live", Actor: "a",
	}
}

func inserter(t *testing.T, db *iutest.DB) *river.Client[pgx.Tx] {
	t.Helper()
	client, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{Schema: jobs.RiverSchema})
	require.NoError(t, err)
	return client
}

// Jobs without a key get the keys of their events by each way to insert them, and so stay separate jobs.
func TestJobsWithoutAKeyAreNotMerged(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	client, template := inserter(t, db), db.Template(t, "t", 1)
	params := func(prefix string) (all []river.InsertManyParams) {
		for n := range strings.SplitSeq("0123456789", "") {
			all = append(all, river.InsertManyParams{Args: event(template, prefix+n)})
		}
		return all
	}
	for _, p := range params("one-") {
		result, err := client.Insert(t.Context(), p.Args, nil)
		require.NoError(t, err)
		require.False(t, result.UniqueSkippedAsDuplicate)
		again, err := client.Insert(t.Context(), p.Args, nil)
		require.NoError(t, err)
		require.True(t, again.UniqueSkippedAsDuplicate, "the same event")
	}
	results, err := client.InsertMany(t.Context(), params("many-"))
	require.NoError(t, err)
	for _, result := range results {
		require.False(t, result.UniqueSkippedAsDuplicate)
	}
	_, err = client.InsertManyFast(t.Context(), params("fast-"))
	require.NoError(t, err)
	db.WaitFor(t, 90*time.Second, `SELECT count(*) = 30 AND count(DISTINCT unique_key) = 30 AND bool_and(args ->> 'idempotency_key'
		= md5((args ->> 'event_id') || ':' || (args ->> 'template_collection_id') || ':' || (args ->> 'instance_key_suffix'))) FROM iu_river.river_job`)
}

// docs/scaleout.md says what happens to duplicates: InsertMany skips an event that has an unfinished job, and fails if one call
// has an event twice. InsertManyFast fails in both cases.
func TestDuplicatesInBulk(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	client, template := inserter(t, db), db.Template(t, "t", 1)
	param := func() river.InsertManyParams { return river.InsertManyParams{Args: event(template, uuid.NewString())} }
	there, fresh, other := param(), param(), param()
	_, err := client.InsertMany(t.Context(), []river.InsertManyParams{there})
	require.NoError(t, err)
	code := func(err error) string {
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr)
		return pgErr.Code
	}
	_, err = client.InsertMany(t.Context(), []river.InsertManyParams{fresh, other, fresh})
	require.Equal(t, "21000", code(err))
	_, err = client.InsertManyFast(t.Context(), []river.InsertManyParams{fresh, there})
	require.Equal(t, "23505", code(err))
	_, err = client.InsertManyFast(t.Context(), []river.InsertManyParams{fresh, fresh})
	require.Equal(t, "23505", code(err))
	db.WaitFor(t, 90*time.Second, "SELECT count(*) = 1 FROM iu_river.river_job")
	results, err := client.InsertMany(t.Context(), []river.InsertManyParams{there, fresh, other})
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, false},
		[]bool{results[0].UniqueSkippedAsDuplicate, results[1].UniqueSkippedAsDuplicate, results[2].UniqueSkippedAsDuplicate})
}

func TestAWrongKeyIsNotInserted(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	args := event(db.Template(t, "t", 1), "s")
	args.IdempotencyKey = "order-1"
	_, err := inserter(t, db).Insert(t.Context(), args, nil)
	require.ErrorIs(t, err, jobs.ErrInvalidArgs)
	require.ErrorContains(t, err, "leave it out")
}

func TestNewAutoInstantiateChecksAndFillsIn(t *testing.T) {
	t.Parallel()
	good, err := jobs.NewAutoInstantiate(event(uuid.New(), "s"))
	require.NoError(t, err)
	require.Equal(t, good.Key(), good.IdempotencyKey)
	require.EqualValues(t, 1, good.Priority)
	require.False(t, good.CreatedAt.IsZero())
	for says, spoil := range map[string]func(*jobs.AutoInstantiateArgs){
		"event_type is blank":                 func(a *jobs.AutoInstantiateArgs) { a.EventType = " " },
		"instance_key_suffix has over 200":    func(a *jobs.AutoInstantiateArgs) { a.InstanceKeySuffix = strings.Repeat("x", 201) },
		"actor is blank":                      func(a *jobs.AutoInstantiateArgs) { a.Actor = "" },
		"template_collection_id is missing":   func(a *jobs.AutoInstantiateArgs) { a.TemplateCollectionID = uuid.Nil },
		`emit_mode is "loud"`:                 func(a *jobs.AutoInstantiateArgs) { a.EmitMode = "loud" },
		"priority is 5":                       func(a *jobs.AutoInstantiateArgs) { a.Priority = 5 },
		"trace_context must be a JSON object": func(a *jobs.AutoInstantiateArgs) { a.TraceContext = json.RawMessage("[]") },
		"idempotency_key is \"x\"":            func(a *jobs.AutoInstantiateArgs) { a.IdempotencyKey = "x" },
	} {
		bad := event(uuid.New(), "s")
		spoil(&bad)
		_, err := jobs.NewAutoInstantiate(bad)
		require.ErrorIs(t, err, jobs.ErrInvalidArgs, says)
		require.ErrorContains(t, err, says)
	}
}

func ExampleNewAutoInstantiate() {
	insert := func(ctx context.Context, client *river.Client[pgx.Tx], tx pgx.Tx, order, template uuid.UUID) error {
		event, err := jobs.NewAutoInstantiate(jobs.AutoInstantiateArgs{
			EventID: order, EventType: "order.paid", TemplateCollectionID: template, InstanceKeySuffix: "invoice-" + order.String(), Actor: "billing",
		})
		if err != nil {
			return err
		}
		_, err = client.InsertTx(ctx, tx, event, nil)
		return err
	}
	_ = insert
}

// An application may keep other values in trace_context.
func TestTraceOfAnApplication(t *testing.T) {
	t.Parallel()
	for context, want := range map[string][2]string{
		`{"traceparent": "p", "tracestate": "s"}`:                      {"p", "s"},
		`{"traceparent": "p", "tracestate": 5, "mine": {"a": [1, 2]}}`: {"p", ""},
		`{"traceparent": ["p"], "tracestate": "s"}`:                    {"", "s"},
		`{"traceparent": null}`:                                        {}, `{}`: {}, `[]`: {}, `nonsense`: {}, ``: {},
	} {
		args := jobs.AutoInstantiateArgs{TraceContext: json.RawMessage(context)}
		traceparent, tracestate := args.Trace()
		require.Equal(t, want, [2]string{traceparent, tracestate}, context)
	}
}
