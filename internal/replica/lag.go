package replica

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// sample is how far a primary had written its log when that was first seen.
type sample struct {
	written int64
	at      time.Time
}

// samples are the places that a standby has yet to replay, oldest first, and those that were not compared yet.
type samples []sample

// samplesMost is how many places are remembered, one a second. If a standby is further behind, some of its lag is not counted.
const samplesMost = 3600

func (s *samples) add(seen sample) {
	last := len(*s) - 1
	switch {
	case last < 0 || seen.written > (*s)[last].written:
		*s = append(*s, seen)
	case seen.written < (*s)[last].written: // a failover: the old places mean nothing in the new log
		*s = samples{seen}
	}
	if len(*s) > samplesMost {
		*s = slices.Delete(*s, 0, len(*s)-samplesMost)
	}
}

// lag returns how long the first place that the standby has not replayed has been waiting; 0 if it has replayed all.
func (s *samples) lag(replayed int64, now time.Time) time.Duration {
	next := slices.IndexFunc(*s, func(seen sample) bool { return seen.written > replayed })
	if next < 0 {
		*s = (*s)[max(len(*s)-1, 0):] // the last one shows whether the primary writes
		return 0
	}
	*s = slices.Delete(*s, 0, next)
	return now.Sub((*s)[0].at)
}

// refused reports whether a server does not reveal what was asked, as some services do not: it is no standby that cannot be read.
func refused(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pgErr.Code[:2] {
	case "0A", "42", "55": // not supported; no such function, or no privilege; not in this state
		return true
	}
	return false
}
