package metrics_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/internal/metrics"
)

// promtool runs Prometheus' own tool, which evaluates rules as a server does.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	require.NoError(t, err, "the tests of the alert rules need Prometheus' promtool: .ci/setup tests installs it on Debian, or says how")
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// withoutAnnotations returns the rules without their sentences for people, which do not decide whether a rule fires.
func withoutAnnotations(t *testing.T) []byte {
	t.Helper()
	var file map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(metrics.Alerts), &file))
	for _, group := range file["groups"].([]any) {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			delete(rule.(map[string]any), "annotations")
		}
	}
	text, err := yaml.Marshal(file)
	require.NoError(t, err)
	return text
}

// ruleCases are the parts of promtool's test files that say which rules have to fire and which have to be silent.
type ruleCases struct {
	Tests []struct {
		Cases []struct {
			Alert   string `yaml:"alertname"`
			Expects []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func TestAlertRules(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		return path
	}
	promtool(t, "check", "rules", write("whole.yaml", []byte(metrics.Alerts)))
	write("alerts.yaml", withoutAnnotations(t))

	fires, silent := make(map[string]bool), make(map[string]bool)
	files, err := filepath.Glob("testdata/alerts*_test.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		promtool(t, "test", "rules", write(filepath.Base(file), text))

		var cases ruleCases
		require.NoError(t, yaml.NewDecoder(bytes.NewReader(text)).Decode(&cases))
		for _, test := range cases.Tests {
			for _, c := range test.Cases {
				fires[c.Alert] = fires[c.Alert] || len(c.Expects) > 0
				silent[c.Alert] = silent[c.Alert] || len(c.Expects) == 0
			}
		}
	}
	var r rules
	require.NoError(t, yaml.Unmarshal([]byte(metrics.Alerts), &r))
	for _, rule := range r.Groups[0].Rules {
		require.True(t, fires[rule.Alert], "no case in which %s fires", rule.Alert)
		require.True(t, silent[rule.Alert], "no case in which %s is silent", rule.Alert)
		delete(fires, rule.Alert)
	}
	require.Empty(t, fires, "cases of rules that there are not")
}
