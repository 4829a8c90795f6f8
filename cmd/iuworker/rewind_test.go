package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// What a restore does: a consumer's cursor goes back with the events, and other events get their positions.
func TestSubscribeEndsWhereTheHistoryWasRewound(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "a", "b", "c")
	running := make(chan result, 1)
	go func() { running <- runWith(t.Context(), on(db), "subscribe", "--consumer", "mail") }()
	db.WaitFor(t, patience, "SELECT (SELECT position = 3 FROM iu_outbox.consumer)")
	db.Exec(t, `
		BEGIN;
		DELETE FROM iu_outbox.emission WHERE position > 1;
		UPDATE iu_outbox.emission_counter SET position = 1;
		UPDATE iu_outbox.consumer SET position = 1;
		SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', '`+template.String()+`', n::text, 'live', 'a') FROM generate_series(1, 4) AS n;
		SELECT iu_outbox.emit(10);
		COMMIT`)
	failed := (<-running).failed(t, exitFailed, `consumer "mail": history rewound: a different event is at cursor`)
	require.Equal(t, []string{"a", "b", "c"}, subjects(t, failed.out), "nothing else was printed")
	require.Regexp(t, `start it again; it continues after [0-9a-f]{8}-1\n`, failed.errOut)
	require.Equal(t, []string{"1", "2", "3", "4"}, subjects(t, run(t, on(db), "subscribe", "--consumer", "mail", "--limit", "4").done(t).out))
}
