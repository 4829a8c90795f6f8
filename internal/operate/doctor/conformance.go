package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

func (e *examination) conformance(ctx context.Context) (Check, error) {
	var report operate.ConformanceReport
	err := e.read(ctx, func(tx pgx.Tx) (err error) {
		report, err = operate.Conformance(ctx, tx)
		return err
	})
	if err != nil {
		return Check{}, err
	}
	if report.Passed() {
		return fine("D9: %s, %s", report.Verdict, report.Core), nil
	}
	var details []string
	for _, object := range report.Objects {
		if object.Result == operate.ResultFail {
			details = append(details, strings.TrimSpace(fmt.Sprintf("%s %s: %s", object.Class, object.Name, object.Note)))
		}
	}
	return failed("D9: %s, %s", report.Verdict, report.Core).with(details).
		so("iu-core is not as expected: "+migrateUp+" creates what is missing, or a backup has it", "iuworker conformance"), nil
}
