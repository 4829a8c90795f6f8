package pgserver

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func standbyOf(t *testing.T, primary *Server, cfg StandbyConfig) *Server {
	t.Helper()
	s, err := primary.Standby(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

func execute(t *testing.T, s *Server, statements ...string) {
	t.Helper()
	require.NoError(t, s.exec(t.Context(), statements...))
}

func TestStandbyOnASocket(t *testing.T) {
	t.Parallel()
	primary := start(t, Config{Settings: map[string]string{"fsync": "off", "work_mem": "5MB"}})
	standby := standbyOf(t, primary, StandbyConfig{Settings: map[string]string{"cluster_name": "second"}})
	require.Equal(t, "5MB", value[string](t, standby, "SHOW work_mem"), "a standby has its primary's settings")
	require.Equal(t, "second", value[string](t, standby, "SHOW cluster_name"))
	require.True(t, value[bool](t, standby, "SELECT pg_is_in_recovery()"))
	require.Equal(t, "async", value[string](t, primary, "SELECT sync_state FROM pg_stat_replication"))

	execute(t, primary, "CREATE TABLE public.kept AS SELECT 1 AS n")
	require.NoError(t, standby.AwaitReplay(t.Context()))
	require.NoError(t, standby.PauseReplay(t.Context()))
	execute(t, primary, "INSERT INTO public.kept VALUES (2)")
	require.Equal(t, 1, value[int](t, standby, "SELECT count(*)::int FROM public.kept"))
	require.NoError(t, standby.ResumeReplay(t.Context()))
	require.NoError(t, standby.AwaitReplay(t.Context()))
	require.Equal(t, 2, value[int](t, standby, "SELECT count(*)::int FROM public.kept"))

	require.NoError(t, standby.StopReceiving(t.Context()))
	execute(t, primary, "INSERT INTO public.kept VALUES (3)")
	require.NoError(t, standby.Promote(t.Context()))
	execute(t, standby, "INSERT INTO public.kept VALUES (4)")
	require.Equal(t, "1,2,4", value[string](t, standby, "SELECT string_agg(n::text, ',' ORDER BY n) FROM public.kept"), "3 is lost")
	require.Equal(t, "1,2,3", value[string](t, primary, "SELECT string_agg(n::text, ',' ORDER BY n) FROM public.kept"), "both write")
	require.ErrorContains(t, primary.AwaitReplay(t.Context()), "no standby")
}

func TestSynchronousStandby(t *testing.T) {
	t.Parallel()
	primary := start(t, Config{TCP: true, Settings: map[string]string{"fsync": "off"}})
	first := standbyOf(t, primary, StandbyConfig{Synchronous: true})
	execute(t, primary, "CREATE TABLE public.kept AS SELECT 1 AS n")
	require.NoError(t, first.StopReceiving(t.Context()))
	impatient, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Error(t, primary.exec(impatient, "INSERT INTO public.kept VALUES (2)"), "a commit waits for the standby")
	require.NoError(t, primary.SetSynchronous(t.Context(), nil))
	execute(t, primary, "INSERT INTO public.kept VALUES (3)")

	// A standby that was copied from a synchronous primary waits for nobody when it is a primary itself.
	second := standbyOf(t, primary, StandbyConfig{Synchronous: true})
	third := standbyOf(t, primary, StandbyConfig{})
	execute(t, primary, "INSERT INTO public.kept VALUES (4)")
	require.NoError(t, third.AwaitReplay(t.Context()))
	primary.Kill()
	require.NoError(t, third.Promote(t.Context()))
	execute(t, third, "INSERT INTO public.kept VALUES (5)")
	require.NoError(t, second.Promote(t.Context()))
	require.Contains(t, value[string](t, second, "SELECT string_agg(n::text, ',' ORDER BY n) FROM public.kept"), "3,4")

	// The promoted one is the primary of the next standby.
	fourth := standbyOf(t, third, StandbyConfig{Synchronous: true})
	execute(t, third, "INSERT INTO public.kept VALUES (6)")
	third.Kill()
	require.NoError(t, fourth.Promote(t.Context()))
	require.Equal(t, 6, value[int](t, fourth, "SELECT max(n) FROM public.kept"))
	execute(t, fourth, "INSERT INTO public.kept VALUES (7)")
}

func TestURLOfSeveralServers(t *testing.T) {
	t.Parallel()
	for _, tcp := range []bool{false, true} {
		primary := start(t, Config{TCP: tcp, Settings: map[string]string{"fsync": "off"}})
		standby := standbyOf(t, primary, StandbyConfig{})
		conn, err := pgx.Connect(t.Context(), URL("postgres", standby, primary)+"&target_session_attrs=read-write")
		require.NoError(t, err)
		var data string
		require.NoError(t, conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&data))
		require.NoError(t, conn.Close(t.Context()))
		require.Equal(t, primary.dir.data(), data)
	}
}

func TestStandbyFails(t *testing.T) {
	t.Parallel()
	primary := start(t, Config{TCP: true, Settings: map[string]string{"fsync": "off"}})
	primary.Kill()
	standby, err := primary.Standby(t.Context(), StandbyConfig{})
	require.ErrorContains(t, err, "start a standby: copy the primary")
	require.Nil(t, standby)
}

// A slot that stayed would make the primary keep its WAL forever.
func TestStandbyLeavesNoSlot(t *testing.T) {
	t.Parallel()
	primary := start(t, Config{Settings: map[string]string{"fsync": "off"}})
	slots := func() (n int) {
		t.Helper()
		require.NoError(t, primary.with(t.Context(), func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots").Scan(&n)
		}))
		return n
	}
	standby, err := primary.Standby(t.Context(), StandbyConfig{})
	require.NoError(t, err)
	require.Equal(t, 1, slots())
	require.NoError(t, standby.Stop())
	require.Zero(t, slots())

	// The copy fails after its slot was created: a server with tablespaces cannot be copied.
	require.NoError(t, os.Symlink("nowhere", filepath.Join(primary.dir.data(), "pg_tblspc", "16385")))
	_, err = primary.Standby(t.Context(), StandbyConfig{})
	require.ErrorContains(t, err, "a server with tablespaces cannot be copied")
	require.Zero(t, slots())
}
