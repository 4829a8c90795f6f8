package doctor

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/retry"
)

// standbyPatience is how long a standby may take to replay what the primary has written when the check begins.
const standbyPatience = 1500 * time.Millisecond

// standby checks whether the standby that is read can be read, and how far it is behind.
func (e *examination) standby(ctx context.Context, _ pgx.Tx) (Check, error) {
	if e.cfg.Replica == nil || !e.cfg.Replica.HasStandby() {
		return fine("no standby is read"), nil
	}
	began := time.Now()
	state := e.cfg.Replica.Check(ctx)
	for state.Err == nil && state.Lag > 0 && time.Since(began) < standbyPatience && retry.Pause(ctx, 50*time.Millisecond) {
		state = e.cfg.Replica.Check(ctx)
	}
	where := "readers use the primary meanwhile"
	if state.Primary != nil {
		where = "the primary cannot be read, either"
	}
	switch {
	case state.Err != nil:
		return warn("the standby of --read-database-url cannot be read: %s", e.cfg.Explain(state.Err)). //nolint:nilerr // it is what the check found
														so(where + "; start the standby again, or give another address"), nil
	case state.Lag == 0:
		return fine("the standby of --read-database-url has replayed everything"), nil
	case state.FromPrimary:
		return warn("the standby of --read-database-url is at least %s behind", state.Lag.Round(time.Second)).
			so(where + "; see whether its replay is paused, or waits for a long query (max_standby_streaming_delay)"), nil
	}
	age := e.age(ctx)
	if age > e.cfg.Replica.MaxLag() && e.cfg.Replica.MaxLag() > 0 {
		return warn("the standby of --read-database-url is behind: what it replayed last was committed %s ago", age.Round(time.Second)).
			so("see whether its replay is paused, or waits for a long query (max_standby_streaming_delay)"), nil
	}
	return fine("the standby of --read-database-url is a little behind: what it replayed last was committed %s ago", age.Round(time.Second)), nil
}

// age returns how long ago by the servers' clocks the last transaction was committed that the standby has replayed; 0 if unknown.
func (e *examination) age(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.StatementTimeout)
	defer cancel()
	var seconds float64
	err := e.cfg.Replica.Standby().QueryRow(ctx, `
		SELECT COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()), 0)::float8`).Scan(&seconds)
	if err != nil {
		return 0 // some services do not reveal it
	}
	return time.Duration(seconds * float64(time.Second))
}
