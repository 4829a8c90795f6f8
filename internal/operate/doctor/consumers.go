package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func (e *examination) consumers(ctx context.Context, tx pgx.Tx) (Check, error) {
	all, err := subscribe.ListConsumers(ctx, tx)
	if err != nil || len(all) == 0 {
		return fine("no durable consumers"), err
	}
	found := fine("%s up to date", operate.Plural(len(all), "consumer is", "consumers are"))
	var details []string
	for _, c := range all {
		result, says := status.JudgeConsumer(c)
		if result != operate.HealthOK {
			details = append(details, fmt.Sprintf("%.60s: %s", c.Name, says))
		}
		if worse(result, found.Result) {
			found.Result = result
		}
	}
	if len(details) == 0 {
		return found, nil
	}
	needing := "need"
	if len(details) == 1 {
		needing = "needs"
	}
	found.Says = fmt.Sprintf("%d of %d consumers %s attention", len(details), len(all), needing)
	return found.with(details).so("check that their programs run; to set a lost position, run: iuworker consumers reset NAME --to CURSOR",
		"iuworker consumers"), nil
}
