package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
)

// retries counts jobs that failed and are tried again, up to countLimit.
func (e *examination) retries(ctx context.Context) (Check, error) {
	var n int64
	var last *string
	err := e.row(ctx, []any{&n, &last}, `
		WITH retried AS MATERIALIZED (
			SELECT j.id, j.reason FROM iu_outbox.job AS j WHERE j.retrying LIMIT $1
		)
		SELECT pg_catalog.count(*), (SELECT r.reason FROM retried AS r ORDER BY r.id DESC LIMIT 1) FROM retried`, operate.CountLimit+1)
	if err != nil || n == 0 {
		return fine("no job waits for a retry"), err
	}
	found := warn("%s and wait for a retry", operate.Counted(n).Of("job failed", "jobs failed"))
	if last != nil {
		found = found.with([]string{fmt.Sprintf("one of them: %.300s", *last)})
	}
	return found.so("fix the cause: transient errors are retried for a day, others ten times", "iuworker status"), nil
}
