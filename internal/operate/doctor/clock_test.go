package doctor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestDoctorNamesTimesInTheFuture(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ statement, says, detail string }{
		"heartbeat": {`INSERT INTO iu_outbox.worker (id, lock_key, hostname, pid, version, seen_at) VALUES ('a', 1, 'h', 1, '1', now() + interval '1 hour')`,
			"the server's clock was set back", "the heartbeat of worker a is"},
		"outbox": {`INSERT INTO iu_outbox.event (event_type, template_collection_id, instance_key_suffix, created_at)
			VALUES ('e', gen_random_uuid(), 'x', now() + interval '3 days')`,
			"the server's clock was set back", "the newest row of the outbox is"},
		"leader": {`INSERT INTO iu_river.river_leader (elected_at, expires_at, leader_id) VALUES (now(), now() + interval '1 day', 'c')`,
			"the server's clock was set back", "the lead of River's client c"},
		"a worker ahead": {`INSERT INTO iu_river.river_job (kind, args, max_attempts, state, attempted_at, attempted_by, finalized_at)
			VALUES ('auto_instantiate', '{}', 1, 'completed', now(), ARRAY['fast'], now() + interval '1 minute')`,
			"1 worker's clock is wrong", "the clock of worker fast is"},
		"a worker behind": {`INSERT INTO iu_river.river_job (kind, args, max_attempts, state, attempted_at, attempted_by, finalized_at)
			VALUES ('auto_instantiate', '{}', 1, 'completed', now(), ARRAY['slow'], now() - interval '10 seconds')`,
			"1 worker's clock is wrong", "the clock of worker slow is 10s behind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := iutest.New(t)
			require.Equal(t, operate.HealthOK, checked(t, examine(t, db.URLAs("iu_operator")), "times").Result)
			db.Exec(t, test.statement)
			check := checked(t, examine(t, db.URLAs("iu_operator")), "times")
			require.Equal(t, operate.HealthWarn, check.Result)
			require.Contains(t, check.Says, test.says)
			require.Contains(t, check.Details[0], test.detail)
		})
	}
}
