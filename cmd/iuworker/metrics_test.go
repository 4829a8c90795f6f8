package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
)

func TestMetricsCommand(t *testing.T) {
	t.Parallel()
	require.True(t, json.Valid([]byte(run(t, nil, "metrics", "dashboard").done(t).out)))
	require.Contains(t, run(t, nil, "metrics", "alerts").done(t).out, "alert: IuworkerNoWorker")
	list := run(t, nil, "metrics", "list").done(t).out
	for _, instrument := range decode[[]metrics.Instrument](t, run(t, nil, "metrics", "list", "--json").done(t)) {
		require.Contains(t, list, instrument.Name)
	}
	run(t, nil, "metrics").failed(t, exitUsage, "one of alerts, dashboard, list")
}

func TestMetricsAreServedWithThePages(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	pages, _, _ := working(t, db)
	of := `{database="` + db.Name + `"}`
	awaitText(t, pages+"metrics", "\niuworker_database_up"+of+" 1\n", "\niuworker_workers_alive"+of+" 1\n", "iuworker_build_info{")
}

func TestMetricsAreServedApart(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	file := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(file, []byte("viewer:ann:"+secret+"\n"), 0o600))
	_, log, stop := working(t, db, "--metrics-addr", "0.0.0.0:0", "--http-credentials-file", file)
	apart := strings.TrimSuffix(strings.TrimPrefix(metricsOf(t, log), "http://"), "metrics")
	require.Equal(t, http.StatusUnauthorized, get(t, "http://"+apart+"metrics"))
	require.Equal(t, http.StatusOK, get(t, "http://"+apart+"healthz"))
	awaitText(t, "http://ann:"+secret+"@"+apart+"metrics", `iuworker_database_up{database="`+db.Name+`"} 1`)
	require.Equal(t, http.StatusNotFound, get(t, "http://ann:"+secret+"@"+apart), "none of the pages is here")

	pages := regexp.MustCompile(`"Pages: listening","url":"http://([^"]+)"`).FindStringSubmatch(log.String())
	require.NotNil(t, pages, log.String())
	require.Equal(t, http.StatusNotFound, get(t, "http://ann:"+secret+"@"+pages[1]+"metrics"), "nor are the metrics there")
	require.Equal(t, exitDone, stop(), log.String())
}

// metricsOf returns the address of the metrics that a program logged, at this machine.
func metricsOf(t *testing.T, log *buffer) string {
	t.Helper()
	found := regexp.MustCompile(`"Metrics: listening","url":"http://\[::\](:\d+/)"`).FindStringSubmatch(log.String())
	require.NotNil(t, found, log.String())
	return "http://127.0.0.1" + found[1] + "metrics"
}

func TestAScraperWithAToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(secret+secret+"\n"), 0o600))
	_, log, stop := working(t, iutest.New(t), "--metrics-addr", "0.0.0.0:0", "--metrics-token-file", file)
	at := metricsOf(t, log)
	require.Equal(t, http.StatusUnauthorized, get(t, at))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+secret+secret)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // it was read
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, exitDone, stop(), log.String())
	require.NotContains(t, log.String(), secret)
}

func TestMetricsAreOpenByChoice(t *testing.T) {
	t.Parallel()
	_, log, stop := working(t, iutest.New(t), "--metrics-addr", "0.0.0.0:0", "--metrics-open")
	awaitText(t, metricsOf(t, log), "iuworker_database_up 1")
	require.Contains(t, log.String(), "everybody who reaches this address can read the metrics")
	require.Equal(t, exitDone, stop(), log.String())
}

func TestMetricsAreNotForEverybodyWithoutCredentials(t *testing.T) {
	t.Parallel()
	run(t, environment{"IUWORKER_DATABASE_URL": nowhere}, "work", "--http-addr", "off", "--metrics-addr", "0.0.0.0:0", "--log-level", "error").
		failed(t, exitUsage, "refusing to serve the metrics on 0.0.0.0:0 without credentials")
	token := environment{"IUWORKER_DATABASE_URL": nowhere, "IUWORKER_METRICS_TOKEN": secret + secret}
	run(t, token, "work", "--http-addr", "0.0.0.0:0", "--log-level", "error").
		failed(t, exitUsage, "refusing to serve the pages on 0.0.0.0:0 without credentials")
	run(t, token, "work", "--metrics-addr", "127.0.0.1:0", "--metrics-open").
		failed(t, exitUsage, "--metrics-open and the tokens of the metrics contradict each other: give one of them")
	run(t, token, "publish", "--nats", "n1", "--metrics-open").failed(t, exitUsage, "--metrics-open and the tokens of the metrics contradict each other")
	run(t, token, "work", "--metrics-token-file", "f").failed(t, exitUsage, "--metrics-token-file and IUWORKER_METRICS_TOKEN contradict each other")
	run(t, nil, "work", "--metrics-open").failed(t, exitUsage, "--metrics-open needs --metrics-addr")
	run(t, environment{"IUWORKER_METRICS_OPEN": "yes"}, "work", "--metrics-addr", "off").failed(t, exitUsage, "IUWORKER_METRICS_OPEN is")
	run(t, nil, "work", "--metrics-token-file", "/nowhere/at/all").failed(t, exitUsage, "read the tokens: open /nowhere/at/all: no such file or directory")
	run(t, nil, "publish", "--kafka", "b1", "--topic", "t", "--metrics-token-file", "/nowhere/at/all").failed(t, exitUsage, "no such file")
	run(t, nil, "work", "--metrics-addr", "9464").failed(t, exitUsage, "--metrics-addr")
}

// read returns the body of a page that must exist. It is asked for again while the database takes too long to reply.
func read(t *testing.T, url string) (text string) {
	t.Helper()
	status := http.StatusServiceUnavailable
	iutest.Eventually(t, func() bool {
		status, text = fetch(t, url)
		return status != http.StatusServiceUnavailable
	}, patience, url)
	require.Equal(t, http.StatusOK, status, strings.TrimSpace(text))
	return text
}
