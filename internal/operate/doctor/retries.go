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
			SELECT j.id, COALESCE(j.metadata #>> '{retry,error}', j.errors[pg_catalog.array_upper(j.errors, 1)] ->> 'error') AS error
			FROM iu_river.river_job AS j
			WHERE j.state = 'retryable' OR j.state = 'scheduled' AND j.metadata ? 'retry'
			LIMIT $1
		)
		SELECT pg_catalog.count(*), (SELECT r.error FROM retried AS r ORDER BY r.id DESC LIMIT 1) FROM retried`, operate.CountLimit+1)
	if err != nil || n == 0 {
		return fine("no job waits for a retry"), err
	}
	found := warn("%s and wait for a retry", operate.Counted(n).Of("job failed", "jobs failed"))
	if last != nil {
		found = found.with([]string{fmt.Sprintf("one of them: %.300s", *last)})
	}
	return found.so("fix the cause: transient errors are retried for a day, others ten times", "iuworker status"), nil
}
