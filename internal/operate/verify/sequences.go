package verify

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// sequences looks for those that are behind, for Verify.
func (a *audit) sequences(ctx context.Context, check *Check) error {
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
			check.Findings = append(check.Findings, Finding{ID: name, Problem: "it is behind; run: " + operate.ForwardSequence(name)})
		}
		return nil
	})
	return err
}
