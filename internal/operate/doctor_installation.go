package operate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/jobs"

)

// HeldCount is how many jobs a fault of the installation holds back.
type HeldCount struct {
	Reason string `json:"reason"`
	Count
}

func readHeld(ctx context.Context, tx pgx.Tx) ([]HeldCount, error) {
	return collect(ctx, tx, func(row pgx.CollectableRow) (held HeldCount, err error) {
		var n int64
		err = row.Scan(&held.Reason, &n)
		held.Count = counted(n)
		return held, err
	}, `
		SELECT h.reason, pg_catalog.count(*)
		FROM (SELECT COALESCE(j.reason, '') AS reason FROM iu_outbox.job AS j WHERE j.held LIMIT $1) AS h
		GROUP BY h.reason
		ORDER BY pg_catalog.count(*) DESC, h.reason
		LIMIT 10`, countLimit+1)
}

// installation tells what holds events back that they have no part in.
func (e *examination) installation(ctx context.Context) (DoctorCheck, error) {
	var held []HeldCount
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		held, err = readHeld(ctx, tx)
		return err
	})
	if err != nil || len(held) == 0 {
		return fine("no event is held back"), err
	}
	details := make([]string, len(held))
	for i, h := range held {
		details[i] = fmt.Sprintf("%s jobs: %s", h.Count, h.Reason)
	}
	return failed("events are held back by a fault of the installation; they use no attempt").with(details).
		so("fix the cause as described above; the events run again within seconds", "iuworker status"), nil
}

// behindSQL names sequences that give numbers which are taken.
const behindSQL = `SELECT s.name FROM iu_outbox.sequences() AS s WHERE s.behind ORDER BY s.name`

func forward(name string) string {
	for _, s := range jobs.Sequences {
		if s.Name == name {
			return s.Forward()
		}
	}
	return fmt.Sprintf("SELECT setval('%s', the highest number of its column)", name)
}

func (e *examination) sequences(ctx context.Context) (DoctorCheck, error) {
	behind, err := e.texts(ctx, behindSQL)
	if err != nil || len(behind) == 0 {
		return fine("every sequence is ahead of its table"), err
	}
	details := make([]string, len(behind))
	for i, name := range behind {
		details[i] = fmt.Sprintf("%s: %s", name, forward(name))
	}
	return failed("%s behind and would return numbers that are taken", counts(len(behind), "sequence is", "sequences are")).with(details).
		so("logical replication does not copy sequences: run these statements as the owner"), nil
}

// sequences looks for those that are behind, for Verify.
func (a *audit) sequences(ctx context.Context, check *VerifyCheck) error {
	rows, err := a.cfg.Pool.Query(ctx, "SELECT s.name, s.behind FROM iu_outbox.sequences() AS s")
	if err != nil {
		return err
	}
	var name string
	var behind bool
	_, err = pgx.ForEachRow(rows, []any{&name, &behind}, func() error {
		check.Looked++
		if behind {
			check.Wrong++
			check.Findings = append(check.Findings, VerifyFinding{ID: name, Problem: "it is behind; run: " + forward(name)})
		}
		return nil
	})
	return err
}
