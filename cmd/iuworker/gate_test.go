package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/operate"
)

func TestGates(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	require.Regexp(t, `(?m)^composer +closed`, run(t, on(db), "gate", "status").done(t).out)
	require.Equal(t, "opened composer (by ann)\n",
		run(t, on(db), "gate", "open", "composer", "--actor", "ann").done(t).out)
	require.Equal(t, "composer was already open\n", run(t, on(db), "gate", "open", "composer").done(t).out)

	gates := decode[[]operate.Gate](t, run(t, on(db), "gate", "status", "--json").done(t))
	require.Len(t, gates, 2)
	require.True(t, gates[0].Open)
	require.Equal(t, "ann", *gates[0].UpdatedBy, "what is open already is not opened")
	require.False(t, gates[1].Open)

	moved := decode[gateMoved](t, run(t, on(db), "gate", "close", "composer", "--actor", "bob", "--json").done(t))
	require.Equal(t, gateMoved{Gate: "composer", Before: "open", Now: "closed", Actor: "bob"}, moved)

	lines, err := operate.Audit(t.Context(), db.Pool, 0, 10)
	require.NoError(t, err)
	require.Len(t, lines, 2)
	require.Equal(t, "bob", lines[0].Actor)
	require.Equal(t, "gate.close", lines[0].Action)
	require.JSONEq(t, `{"gate": "composer", "was_open": true}`, string(lines[0].Detail))
}
