package webui_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// outage is a connection to the database that a test can cut.
type outage struct {
	proxy *toxiproxy.Proxy
	pool  *pgxpool.Pool
}

func newOutage(t *testing.T, db *iutest.DB) outage {
	t.Helper()
	at, err := url.Parse(db.URL)
	require.NoError(t, err)
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), t.Name(), "127.0.0.1:0", at.Host)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	at.Host = proxy.Listen
	pool, err := pgxpool.New(t.Context(), at.String())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return outage{proxy, pool}
}

// back ends the outage. Another program may have got the address meanwhile, for a connection.
func (o outage) back(t *testing.T) {
	t.Helper()
	iutest.Eventually(t, func() bool { return o.proxy.Start() == nil }, patience, "the address %s", o.proxy.Listen)
}

// awayReads lists pages and calls that need the database.
var awayReads = []string{
	"/gates/composer?to=open", "/dead-letters", "/scaleouts", "/rollback?actor=a", "/audit", "/trace?q=00000000-0000-0000-0000-000000000001",
	"/riverui/api/jobs", "/riverui/api/jobs/1", "/riverui/api/queues", "/riverui/api/health-checks/complete",
}

func TestPagesSayThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	way := newOutage(t, db)
	handler := handlerOn(t, db, func(cfg *webui.Config) { cfg.Pool = way.pool })
	form := with("Content-Type", "application/x-www-form-urlencoded")

	// The next statement notices that an idle session was cut off.
	cut := func() {
		way.pool.Reset()
		require.NoError(t, way.pool.Ping(t.Context()))
		db.Exec(t, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	}
	for _, path := range awayReads {
		cut()
		w := serve(handler, http.MethodGet, path, nil)
		require.Contains(t, []int{http.StatusOK, http.StatusNotFound, http.StatusServiceUnavailable}, w.Code, "%s: %s", path, w.Body)
	}
	cut()
	w := serve(handler, http.MethodPost, "/gates/composer", strings.NewReader("to=open"), form)
	require.Contains(t, []int{http.StatusSeeOther, http.StatusServiceUnavailable}, w.Code, w.Body)

	way.proxy.Stop()
	for _, path := range awayReads {
		w := serve(handler, http.MethodGet, path, nil)
		require.Equal(t, http.StatusServiceUnavailable, w.Code, "%s: %s", path, w.Body)
	}
	w = serve(handler, http.MethodPost, "/gates/composer", strings.NewReader("to=open"), form)
	require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body)
	require.Equal(t, "cannot connect to the database; the log says why\n", w.Body.String())
	for _, c := range riverChanges {
		w := serve(handler, c[0], c[1], strings.NewReader(`{"ids": ["1"]}`))
		require.Equal(t, http.StatusServiceUnavailable, w.Code, "%s: %s", c[1], w.Body)
		require.JSONEq(t, `{"message": "cannot connect to the database; the log says why"}`, w.Body.String(), c[1])
	}
	home := serve(handler, http.MethodGet, "/", nil)
	require.Equal(t, http.StatusOK, home.Code, "it says so in its sections")
	require.Contains(t, home.Body.String(), "cannot connect to the database")
}
