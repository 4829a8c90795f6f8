package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

func (e *examination) gates(ctx context.Context) (Check, error) {
	var gates []operate.Gate
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		gates, err = operate.Gates(ctx, tx)
		return err
	})
	if err != nil {
		return Check{}, err
	}
	var details []string
	var commands []string
	for _, gate := range gates {
		if gate.Open {
			continue
		}
		detail := fmt.Sprintf("%s (%s)", gate.Gate, gate.Key)
		if gate.UpdatedBy != nil && gate.UpdatedAt != nil {
			detail += fmt.Sprintf(", by %s at %s", *gate.UpdatedBy, gate.UpdatedAt.UTC().Format("2006-01-02 15:04:05Z"))
		}
		details = append(details, detail)
		commands = append(commands, gate.Gate.OpenCommand())
	}
	if len(details) == 0 {
		return fine("both are open"), nil
	}
	return warn("%s closed; jobs are parked (nothing is lost)", operate.Plural(len(details), "gate is", "gates are")).with(details).
		so(gatesFix(len(commands)), commands...), nil
}

func gatesFix(closed int) string {
	if closed == 1 {
		return "open it unless it was closed deliberately"
	}
	return "open them unless they were closed deliberately"
}
