package doctor

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate/status"
)

// composing reports how instances are composed, and why. Either way leaves the same rows: nothing is wrong with the slower one.
func (e *examination) composing(ctx context.Context, tx pgx.Tx) (Check, error) {
	how, err := status.ReadComposing(ctx, tx)
	if err != nil {
		return Check{}, err
	}
	found := fine("%s", how)
	switch {
	case how.Obstacle != nil:
		return found.withAll([]string{slower,
			"sets need iu-core's five functions that compose as iuworker creates them, and SELECT and INSERT on their tables for the owner of iu_outbox"}), nil
	case len(how.ByFunction) > 0:
		return found.with(append([]string{slower, "a restart without --compose-by function changes it"},
			lines(how.ByFunction, func(id string) string { return "by a call for each event: " + id })...)), nil
	}
	return found, nil
}

const slower = "the result is the same; composing many events of one template takes the database three to five times as long as in sets"
