package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestCancelAnActor(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "letter", 1)
	scaleOut(t, db, "1100").done(t)
	db.Exec(t, `UPDATE iu_river.river_job SET state = 'running' WHERE args ->> 'instance_key_suffix' = 'spring-5'`)
	db.Exec(t, `UPDATE iu_river.river_job SET args = args || '{"actor": "another"}' WHERE args ->> 'instance_key_suffix' = 'spring-6'`)
	var actor string
	require.NoError(t, db.Pool.QueryRow(t.Context(), `SELECT args ->> 'actor' FROM iu_river.river_job LIMIT 1`).Scan(&actor))
	run(t, on(db), "cancel", "--actor", actor).failed(t, exitUsage, "nothing was cancelled: pass --yes, or --expect 1098, to confirm")
	run(t, on(db), "cancel").failed(t, exitUsage, "--actor is missing")
	require.Equal(t, "1098 cancelled; 1 are running or still in the outbox: run it again in a moment\n",
		run(t, on(db), "cancel", "--actor", actor, "--expect", "1098").done(t).out)
	require.Equal(t, "0 cancelled; 1 are running or still in the outbox: run it again in a moment\n",
		run(t, on(db), "cancel", "--actor", actor).done(t).out)
	var letters, lines int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM iu_outbox.dead_letter),
			(SELECT count(*) FROM iu_outbox.audit WHERE action = 'actor.cancel' AND detail ->> 'actor' = $1)`, actor).Scan(&letters, &lines))
	require.Equal(t, []int{0, 2}, []int{letters, lines})
}
