package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/iu-core/iuworker/internal/compose"
)

// newHold returns the Hold that holds jobs back while the installation is at fault, and logs its begin and its end.
func newHold(logger *slog.Logger) *compose.Hold {
	return &compose.Hold{
		Began: func(f compose.Fault) {
			logger.ErrorContext(context.Background(), "Jobs: held back, the installation is at fault; they use up no attempt",
				slog.String("fault", f.Says), slog.String("way_out", f.Help))
		},
		Ended: func(f compose.Fault, after time.Duration) {
			logger.InfoContext(context.Background(), "Jobs: the installation's fault is over; those held back run again",
				slog.String("fault", f.Says), slog.Duration("after", after.Round(time.Millisecond)))
		},
	}
}

// faultName names what keeps a part from working, for retry.Outage: a fault of the installation, or another error of the server
// that is not the loss of a connection.
func faultName(err error) (says, help string) {
	if f, ok := compose.FaultOf(err); ok {
		return f.Says, f.Help
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok, pgErr.Code[:2] == "08", pgErr.Code[:2] == "57", pgErr.Code[:2] == "58":
		return "", ""
	case pgErr.Code == pgerrcode.LockNotAvailable:
		return "another transaction holds a lock: " + err.Error(), "let it end; to see which one it is, run: iuworker doctor"
	}
	return "the database refuses it: " + err.Error(), "remove the cause; see also: iuworker doctor"
}

// fault returns the fault of the installation that a part met last, "" if there is none.
func (r *running) fault() string {
	if f := r.hold.Now(); f != nil {
		return "jobs: " + f.String()
	}
	for _, outage := range r.outages {
		if fault := outage.Fault(); fault != "" {
			return fault
		}
	}
	return ""
}
