package iutest_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestNew(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	var open bool
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT public.fn_iu_composer_enabled()").Scan(&open))
	require.False(t, open, "gates ship closed")
	db.OpenGates(t)
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT public.fn_iu_composer_enabled()").Scan(&open))
	require.True(t, open)
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	full, empty := db.Template(t, "welcome", 12), db.Template(t, "empty", 0)
	require.NotEqual(t, full, empty)

	var pieces, last int
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		SELECT count(*), max(m.position) FROM public.iu_piece_membership AS m WHERE m.collection_id = $1`, full).
		Scan(&pieces, &last))
	require.Equal(t, []int{12, 12}, []int{pieces, last})

	var found uuid.UUID
	require.NoError(t, db.Pool.QueryRow(t.Context(),
		"SELECT id FROM iu_outbox.template WHERE collection_key = 'empty'").Scan(&found))
	require.Equal(t, empty, found)
}

func TestRolesLogIn(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, role := range []string{"iu_app", "iu_worker", "iu_operator", "iu_subscriber"} {
		var login string
		require.NoError(t, connect(t, db.URLAs(role)).QueryRow(t.Context(), "SELECT session_user").Scan(&login))
		require.Equal(t, role, login)
	}
}

func TestOwn(t *testing.T) {
	t.Parallel()
	db, server := iutest.Own(t)
	db.Exec(t, "CREATE TABLE public.kept AS SELECT 7 AS seven")
	conn := connect(t, db.URLAs("iu_app"))
	server.Kill()
	require.Error(t, conn.Ping(t.Context()))
	require.NoError(t, server.Restart(t.Context()))
	db.WaitFor(t, time.Minute, "SELECT seven = 7 FROM public.kept")
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		iutest.New(b)
	}
}
