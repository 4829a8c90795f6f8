package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
)

// Config configures Verify. The zero value of a field means its default.
type Config struct {
	// Pool is the database. Required. Verify uses one connection at a time, and each for a short statement.
	Pool *pgxpool.Pool

	// Findings is how many of the wrong things each check names. Default 20.
	Findings int

	// Rest is how long to pause between two pieces, for the sake of others. Default: not at all.
	Rest time.Duration

	// Done, if it is not nil, is called after each check.
	Done func(Check)
}

// Report says what holds over all data, and names what does not.
type Report struct {
	At      time.Time `json:"at"` // when it began, by this machine's clock
	Seconds float64   `json:"seconds"`
	Wrong   int64     `json:"wrong"` // things, over all checks
	Checks  []Check   `json:"checks"`
	Balance Balance   `json:"balance"`
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return r.Wrong == 0 }

// Check is one thing that must hold for all rows of a kind.
type Check struct {
	Check    string    `json:"check"`
	Holds    string    `json:"holds"`    // what must hold
	Looked   int64     `json:"looked"`   // rows looked at
	Wrong    int64     `json:"wrong"`    // rows for which it does not hold
	Findings []Finding `json:"findings"` // the first of those
	WayOut   string    `json:"way_out"`  // what to do about findings
}

// Finding is a row for which a check does not hold.
type Finding struct {
	ID      string `json:"id"` // of what the check looks at
	Problem string `json:"problem"`
}

// Balance is what became of all events since the outbox was installed. While events flow, its numbers are of
// slightly different moments.
type Balance struct {
	Waiting  int64 `json:"waiting"`  // rows in the outbox
	Claimed  int64 `json:"claimed"`  // rows that left it for a job
	Merged   int64 `json:"merged"`   // of them: those whose job another row of their key stands for
	Scaleout int64 `json:"scaleout"` // jobs that a scale-out made without rows

	Composed    int64 `json:"composed"`     // the rest is where claimed keys are: those in the log
	Unfinished  int64 `json:"unfinished"`   // in jobs
	DeadLetters int64 `json:"dead_letters"` // that remain
	RolledBack  int64 `json:"rolled_back"`
	Retried     int64 `json:"retried"` // as dead letters: claimed again since, or waiting in the outbox
	Dropped     int64 `json:"dropped"` // as dead letters
	Lost        int64 `json:"lost"`
}

// step is a check and how it is done.
type step struct {
	check, holds, wayOut string
	run                  func(*audit, context.Context, *Check) error
}

// Run checks all data, and returns what is wrong. It changes nothing. It goes through the tables in pieces: short
// statements, each with a snapshot of its own, in which the invariants must hold whatever happens meanwhile; a piece
// in which something is wrong is looked at twice. An error means that it could not look at everything; the report then
// has the checks that ended.
func Run(ctx context.Context, cfg Config) (Report, error) {
	report := Report{At: time.Now(), Checks: []Check{}}
	if cfg.Pool == nil {
		return report, errors.New("verify: Pool is required")
	}
	if cfg.Findings == 0 {
		cfg.Findings = 20
	}
	a := &audit{cfg: cfg, report: &report}
	for _, step := range steps {
		check := Check{Check: step.check, Holds: step.holds, Findings: []Finding{}}
		if err := step.run(a, ctx, &check); err != nil {
			return report, fmt.Errorf("verify %s: %w", step.check, err)
		}
		if check.Wrong > 0 {
			check.WayOut = step.wayOut
		}
		report.Checks = append(report.Checks, check)
		report.Wrong += check.Wrong
		report.Seconds = time.Since(report.At).Seconds()
		if cfg.Done != nil {
			cfg.Done(check)
		}
	}
	return report, nil
}

// steps go the way that events go.
var steps = []step{
	{
		check: "outbox", run: (*audit).outbox,
		holds:  "no row was deleted from the outbox by hand",
		wayOut: "the rows are in iu_outbox.settled (how = 'removed'): insert their events again, or delete these rows to accept the loss",
	},
	{
		check: "events", run: (*audit).events,
		holds:  "every event that left the outbox is composed, in a job, a dead letter, or was removed by an operator",
		wayOut: "have the application send these events again; iuworker trace KEY shows one of them",
	},
	{
		check: "dead letters", run: (*audit).deadLetters,
		holds:  "the job of each dead letter has ended",
		wayOut: "run iuworker doctor: a trigger of River's table of jobs may be disabled; drop the dead letter once its job has ended",
	},
	{
		check: "instances", run: (*audit).instances,
		holds:  "each collection tpl-inst:auto:* is in the log",
		wayOut: "its log row was deleted, or something else took such a key: rename the collection, or delete it",
	},
	{
		check: "log", run: (*audit).log,
		holds:  "each row of the log has its instance with pieces, its lineage with the template's digest and, if it is live, its emission",
		wayOut: "restore what is missing from a backup, or roll the actor back and send its events again: iuworker rollback --actor ACTOR",
	},
	{
		check: "lineage", run: (*audit).lineage,
		holds:  "each lineage has its instance and its template",
		wayOut: "foreign keys were off when these collections were deleted: restore them, or delete the orphans",
	},
	{
		check: "memberships", run: (*audit).memberships,
		holds:  "each membership has its collection and its piece",
		wayOut: "foreign keys were off when these were deleted: restore them, or delete the orphans",
	},
	{
		check: "positions", run: (*audit).positions,
		holds:  "positions are unique and have no gaps up to the counter, and each emission is that of one live instance, or marked as rolled back",
		wayOut: "subscribers may have missed an event: restore the emission from a backup, or inform them",
	},
	{
		check: "waiting", run: (*audit).waiting,
		holds:  "each emission without a position is that of one live instance in the log",
		wayOut: "it will be announced without an instance: restore the instance, or delete the emission",
	},
	{
		check: "sequences", run: (*audit).sequences,
		holds:  "every sequence is ahead of its table",
		wayOut: "logical replication does not copy sequences: run these statements as the owner",
	},
	{
		check: "consumers", run: (*audit).consumers,
		holds: "no consumer is ahead of the announcements",
		wayOut: "a restore or failover set the database back: decide what to do with what the consumer received, then run: " +
			"iuworker consumers reset NAME --to CURSOR",
	},
}

// Record stores how a verification went, for the pages. A later one replaces it.
func Record(ctx context.Context, q operate.Querier, report Report) error {
	_, err := q.Exec(ctx, `
		INSERT INTO iu_outbox.verification AS v (at, seconds, wrong) VALUES (pg_catalog.clock_timestamp(), $1, $2)
		ON CONFLICT (singleton) DO UPDATE SET at = EXCLUDED.at, seconds = EXCLUDED.seconds, wrong = EXCLUDED.wrong`,
		report.Seconds, report.Wrong)
	if err != nil {
		return fmt.Errorf("note a verification: %w", err)
	}
	return nil
}
