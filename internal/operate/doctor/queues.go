package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/jobs"
)

func (e *examination) queues(ctx context.Context) (Check, error) {
	paused, err := e.texts(ctx, `
		SELECT pg_catalog.format('%s since %s', q.name, pg_catalog.date_trunc('second', q.paused_at)) FROM iu_river.river_queue AS q
		WHERE q.paused_at IS NOT NULL ORDER BY q.paused_at`)
	if err != nil || len(paused) == 0 {
		return fine("no queue is paused"), err
	}
	var command string
	if slices.ContainsFunc(paused, func(queue string) bool { return strings.HasPrefix(queue, jobs.QueueScaleout+" since ") }) {
		command = "iuworker scaleout resume"
	}
	return warn("%s paused: no worker takes jobs from it", operate.Plural(len(paused), "queue is", "queues are")).with(paused).
		so("resume it unless it was paused deliberately; the pages resume any queue", command), nil
}
