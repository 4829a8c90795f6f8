package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
)

// clock compares this machine's clock with the server's: retries are scheduled by the one and fetched by the other.
func (e *examination) clock(ctx context.Context) (Check, error) {
	var before, after, there time.Time
	err := e.read(ctx, func(tx pgx.Tx) error {
		before = time.Now()
		err := tx.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&there)
		after = time.Now()
		return err
	})
	if err != nil {
		return Check{}, err
	}
	took := after.Sub(before)
	return judgeClock(before.Add(took/2).Sub(there), took/2), nil
}

// judgeClock judges how far this machine's clock is ahead, known to within some time.
func judgeClock(ahead, within time.Duration) Check {
	off := max(ahead.Abs()-within, 0)
	where := "ahead of"
	if ahead < 0 {
		where = "behind"
	}
	says := fmt.Sprintf("this machine's clock is %s %s the server's", operate.Lasted(off.Seconds()), where)
	switch {
	case off > time.Minute:
		return failed("%s: retries come that much early or late", says).so("synchronise the clocks of both machines by NTP", "timedatectl")
	case off > 2*time.Second:
		return warn("%s", says).so("synchronise the clocks of both machines by NTP", "timedatectl")
	case off < 100*time.Millisecond:
		return fine("this machine's clock agrees with the server's")
	}
	return fine("%s", says)
}
