package doctor

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
)

// behindSQL names sequences that give numbers which are taken.
const behindSQL = `SELECT s.name FROM iu_outbox.sequences() AS s WHERE s.behind ORDER BY s.name`

func (e *examination) sequences(ctx context.Context) (Check, error) {
	behind, err := e.texts(ctx, behindSQL)
	if err != nil || len(behind) == 0 {
		return fine("every sequence is ahead of its table"), err
	}
	details := make([]string, len(behind))
	for i, name := range behind {
		details[i] = fmt.Sprintf("%s: %s", name, operate.ForwardSequence(name))
	}
	return failed("%s behind and would return numbers that are taken", operate.Plural(len(behind), "sequence is", "sequences are")).with(details).
		so("logical replication does not copy sequences: run these statements as the owner"), nil
}
