package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iu-core/iuworker/internal/operate"
)

// Config configures Run. The zero value of a field means its default.
type Config struct {
	// Pool is the database. Required. Verify uses one connection at a time, and each for a short statement.
	Pool *pgxpool.Pool

	// Findings is how many wrong rows each check names. Default 20.
	Findings int

	// Rest is how many times as long as a piece took to pause after it, to leave others room. Default 0: no pause.
	Rest int

	// Done, if it is not nil, is called after each check.
	Done func(Check)
}

// Report is what a verification found.
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
	Name     string    `json:"check"`
	Holds    string    `json:"holds"`    // what must hold
	Looked   int64     `json:"looked"`   // rows looked at
	Wrong    int64     `json:"wrong"`    // rows for which it does not hold
	Findings []Finding `json:"findings"` // the first of those
	WayOut   string    `json:"way_out"`  // what to do about findings

	most int // findings
}

// add adds a row for which the check does not hold.
func (c *Check) add(id, problem string) {
	if len(c.Findings) < c.most {
		c.Findings = append(c.Findings, Finding{ID: id, Problem: problem})
	}
	c.Wrong++
}

// Finding is a row for which a check does not hold.
type Finding struct {
	ID      string `json:"id"` // of the row
	Problem string `json:"problem"`
}

// Balance is what became of all events since the outbox was installed. While events flow, its numbers are not of one moment.
type Balance struct {
	Waiting  int64 `json:"waiting"`  // rows in the outbox
	Claimed  int64 `json:"claimed"`  // rows that left it for a job
	Merged   int64 `json:"merged"`   // of them: those whose job another row of their key stands for
	Scaleout int64 `json:"scaleout"` // jobs that a scale-out made without rows

	Composed    int64 `json:"composed"`     // claimed keys that are in the log; those below are elsewhere
	Unfinished  int64 `json:"unfinished"`   // in jobs
	DeadLetters int64 `json:"dead_letters"` // that remain
	RolledBack  int64 `json:"rolled_back"`
	Retried     int64 `json:"retried"` // as dead letters: claimed again since, or waiting in the outbox
	Dropped     int64 `json:"dropped"` // as dead letters
	Lost        int64 `json:"lost"`
}

// step is a check of the data.
type step struct {
	name, holds, wayOut string

	// scans are made in this order. Their statements return rows (id, tally, n, problem); problem is NULL if all is well.
	scans []scan

	// count sets Looked and the balance from the sums of n by tally. Default: Looked is the sum of the tally ''.
	count func(check *Check, balance *Balance, sums map[string]int64)
}

// steps follow the events through the tables.
var steps = []step{outbox, events, deadLetters, instances, log, lineage, memberships, positions, waiting, sequences, consumers}

// Run checks all data and changes nothing. It reads the tables in pieces: short statements, each with a snapshot of its own, in
// which the invariants hold whatever else commits. After an error the report has the checks that ended.
func Run(ctx context.Context, cfg Config) (Report, error) {
	report := Report{At: time.Now(), Checks: []Check{}}
	if cfg.Pool == nil {
		return report, errors.New("verify: Pool is required")
	}
	cfg.Findings = cmp.Or(cfg.Findings, 20)
	for _, step := range steps {
		check := Check{Name: step.name, Holds: step.holds, Findings: []Finding{}, most: cfg.Findings}
		w := walk{cfg: cfg, check: &check, sums: map[string]int64{}}
		for _, scan := range step.scans {
			if err := w.scan(ctx, scan); err != nil {
				return report, fmt.Errorf("verify %s: %w", step.name, err)
			}
		}
		check.Looked = w.sums[""]
		if step.count != nil {
			step.count(&check, &report.Balance, w.sums)
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

// Record stores the result of a verification for the pages. It replaces the one before.
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
