package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/jobs"
)

// used returns all metrics after each was set once.
func used(t *testing.T, db *iutest.DB) prometheus.Gatherer {
	t.Helper()
	db.Exec(t, "INSERT INTO iu_outbox.consumer (name, epoch, position) SELECT 'billing', c.epoch, 0 FROM iu_outbox.emission_counter AS c")
	db.Exec(t, "SELECT iu_outbox.attend('30 days', '30 days')")
	registry := metrics.NewRegistry(metrics.Config{
		Pool: db.Pool, Version: "1.2.3", Ready: func(context.Context) error { return nil }, StateTimeout: time.Minute,
	})
	m := metrics.New(registry)
	metrics.ObserveStandby(registry, func() metrics.Standby { return metrics.Standby{Up: true, Used: true, Lag: time.Second} })
	metrics.ObserveStreams(registry, func() metrics.Streams { return metrics.Streams{Open: 3, Refused: 2, CutOff: 1} })
	m.Relayed(3, 2, 1, time.Millisecond)
	m.Ran(compose.Outcome{
		Queue: jobs.QueueEvents, Result: compose.Result{Status: jobs.StatusInstantiated}, Ending: compose.EndingCompleted, Took: time.Millisecond,
		Args: jobs.AutoInstantiateArgs{CreatedAt: time.Now().Add(-time.Second)},
	})
	m.Composed(compose.Batch{Events: 7, Took: time.Millisecond, Split: true})
	m.Emitted(5, false, time.Millisecond)
	m.Resumed(1)
	m.Rescued(1)
	m.Pruned(1)
	m.Failed("relay")
	m.Listening(true)
	m.Verified(0, time.Now(), time.Second)
	process := metrics.NewProcess(func() int64 { return 4 })
	return metrics.Together(func() []prometheus.Gatherer { return []prometheus.Gatherer{process, registry} })
}

// A scrape finds exactly the metrics of the catalog.
func TestCatalog(t *testing.T) {
	t.Parallel()
	found := gather(t, used(t, iutest.New(t)))
	publisher := metrics.NewRegistry(metrics.Config{Database: "shop"})
	metrics.NewPublisher(publisher, func() bool { return true })
	maps.Copy(found, gather(t, publisher))
	for _, instrument := range metrics.Catalog() {
		family := found[instrument.Name]
		require.NotNil(t, family, instrument.Name)
		require.Equal(t, instrument.Type, strings.ToLower(family.GetType().String()), instrument.Name)
		require.Equal(t, instrument.Help, family.GetHelp(), instrument.Name)
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		require.ElementsMatch(t, instrument.Labels, labels, instrument.Name)
		delete(found, instrument.Name)
	}
	for name := range found {
		require.NotContains(t, name, "iuworker", "not in the catalog")
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	t.Parallel()
	var families []*dto.MetricFamily
	for _, family := range gather(t, used(t, iutest.New(t))) {
		families = append(families, family)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

// Values that others make up do not become label values.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := metrics.New(registry)
	for i := range 1000 {
		m.Ran(compose.Outcome{Queue: fmt.Sprint("q", i), Result: compose.Result{Status: jobs.Status(fmt.Sprint("s", i))}, Ending: compose.EndingRetried})
		m.Ran(compose.Outcome{Queue: jobs.QueueScaleout, Err: errors.New(fmt.Sprint("e", i)), Ending: compose.EndingRetried})
	}
	found := gather(t, registry)
	require.EqualValues(t, 1000, found.value(t, "iuworker_job_runs_total", "queue", "other", "status", "other"))
	require.EqualValues(t, 1000, found.value(t, "iuworker_job_runs_total", "queue", "scaleout", "status", "error", "ending", "retried"))
	require.Less(t, len(found["iuworker_job_runs_total"].GetMetric()), 50)
}

func TestHandlerServesTheTextFormat(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	registry := metrics.NewRegistry(metrics.Config{Database: "shop", Version: "1.2.3"})
	metrics.New(registry)
	metrics.Handler(registry, slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, answer.Code)
	require.Contains(t, answer.Body.String(), `iuworker_build_info{database="shop",version="1.2.3"} 1`)
	require.Contains(t, answer.Body.String(), `iuworker_relay_rows_total{database="shop"} 0`)
	require.NotContains(t, answer.Body.String(), "iuworker_listener_up{", "nobody said that there is a listener")
}

// dashboard is the part of the dashboard's form that these tests read.
type dashboard struct {
	UID    string
	Panels []struct {
		Title, Type, Description string
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ Expr string }
	}
}

// rules is the form of Prometheus' rule files.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func expressions(t *testing.T) []string {
	t.Helper()
	var d dashboard
	require.NoError(t, json.Unmarshal([]byte(metrics.Dashboard), &d))
	require.Equal(t, "iuworker", d.UID)
	var all []string
	for _, panel := range d.Panels {
		if panel.Type == "row" {
			continue
		}
		require.NotEmpty(t, panel.Description, panel.Title)
		require.NotEmpty(t, panel.Targets, panel.Title)
		require.LessOrEqual(t, panel.GridPos.X+panel.GridPos.W, 24, panel.Title)
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	var r rules
	decoder := yaml.NewDecoder(strings.NewReader(metrics.Alerts))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&r))
	for _, rule := range r.Groups[0].Rules {
		require.Regexp(t, `^Iuworker[A-Z]`, rule.Alert)
		require.Contains(t, []string{"warning", "critical"}, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["action"], rule.Alert)
		if rule.For != "" {
			_, err := time.ParseDuration(rule.For)
			require.NoError(t, err, rule.Alert)
		}
		all = append(all, rule.Expr)
	}
	return all
}

var (
	metricName = regexp.MustCompile(`\b(iuworker|process|go)_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`\b([a-z0-9_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*[=!]~?"`)
)

// The dashboard and the rules refer only to metrics and labels that exist.
func TestExpressionsReferToWhatThereIs(t *testing.T) {
	t.Parallel()
	found := gather(t, used(t, iutest.New(t)))
	exists := func(name string) bool {
		if family := found[name]; family != nil {
			return family.GetType() != dto.MetricType_HISTOGRAM
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && found[base] != nil {
				return found[base].GetType() == dto.MetricType_HISTOGRAM
			}
		}
		return false
	}
	all := expressions(t)
	require.Greater(t, len(all), 50)
	for _, expr := range all {
		names := metricName.FindAllString(expr, -1)
		require.NotEmpty(t, names, expr)
		for _, name := range names {
			require.True(t, exists(name), "there is no %s: %s", name, expr)
		}
		require.Equal(t, strings.Count(expr, "("), strings.Count(expr, ")"), expr)
		for _, selected := range selector.FindAllStringSubmatch(expr, -1) {
			for _, label := range matcher.FindAllStringSubmatch(selected[2], -1) {
				require.Contains(t, labelsOf(selected[1]), label[1], expr)
			}
		}
	}
}

func labelsOf(name string) []string {
	catalog := metrics.Catalog()
	at := slices.IndexFunc(catalog, func(i metrics.Instrument) bool {
		return slices.Contains([]string{i.Name, i.Name + "_bucket", i.Name + "_sum", i.Name + "_count"}, name)
	})
	if at < 0 {
		return nil
	}
	return catalog[at].Labels
}
