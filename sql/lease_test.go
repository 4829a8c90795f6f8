package iusql_test

import (
	"testing"

	"github.com/iu-core/iuworker/internal/iutest"
)

// The process that would sweep next learns when the lease of the one that sweeps now expires. Otherwise it would find that only up to a
// heartbeat later, and jobs would run again later than within 10 s.
func TestRenewalTellsEveryoneTheNextExpiry(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.Exec(t, "SELECT iu_outbox.take_lease(w, 1, 'host', 1, 'test') FROM unnest(ARRAY['sweeper', 'third']) AS w")
	renewed := func(seen string) string {
		db.Exec(t, "UPDATE iu_outbox.worker SET steady_since = now() - interval '1 hour', seen_at = clock_timestamp()")
		db.Exec(t, "UPDATE iu_outbox.worker SET seen_at = clock_timestamp() - $1::interval WHERE id = 'sweeper'", seen)
		return rows(t, db, `
			SELECT concat_ws(' ', r.sweeps, r.next_expiry > interval '5 s', r.next_expiry <= interval '8 s')
			FROM iu_outbox.renew_lease('third', 1, NULL) AS r`)[0]
	}
	for _, test := range []struct{ seen, want, why string }{
		{"1 s", "f t t", "there is time"},
		{"4 s", "f f t", "before the next heartbeat but one"},
		{"9 s", "t t t", "it has expired, and this one sweeps"},
	} {
		// A busy machine may take seconds between the update and the renewal.
		iutest.Eventually(t, func() bool { return renewed(test.seen) == test.want }, patience, "%s ago: %s", test.seen, test.why)
	}
}
