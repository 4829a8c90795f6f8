package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

func (e *examination) consumers(ctx context.Context) (Check, error) {
	var all []subscribe.Consumer
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		all, err = subscribe.ListConsumers(ctx, tx)
		return err
	})
	if err != nil {
		return Check{}, err
	}
	found := fine("%s up to date", operate.Plural(len(all), "consumer is", "consumers are"))
	var details []string
	for _, c := range all {
		if result, says := operate.JudgeConsumer(c); result != operate.HealthOK {
			details = append(details, fmt.Sprintf("%.60s: %s", c.Name, says))
			found.Result = found.worse(Check{Result: result}).Result
		}
	}
	if len(details) == 0 {
		if len(all) == 0 {
			found.Says = "no durable consumers"
		}
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
