package main

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/internal/iutest"
)

// systemd accepts the unit, and the program accepts its command.
func TestTheUnitOfTheDocuments(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestTheUnitOfTheDocuments")
	require.Len(t, blocks, 1)
	self, err := os.Executable()
	require.NoError(t, err)
	require.Contains(t, blocks[0].text, "ExecStart=/usr/local/bin/iuworker work\n")
	unit := strings.ReplaceAll(blocks[0].text, "/usr/local/bin/iuworker", self)
	file := filepath.Join(t.TempDir(), "iuworker.service")
	require.NoError(t, os.WriteFile(file, []byte(unit), 0o600))
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		require.NotContains(t, line, "iuworker.service", "of the unit, not of the machine it is checked on")
	}
}

// A manifest has the fields that Kubernetes requires, and the program accepts its arguments and variables.
func TestManifestsOfTheDocuments(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestManifestsOfTheDocuments")
	require.Len(t, blocks, 1)
	decoder := yaml.NewDecoder(strings.NewReader(blocks[0].text))
	var kinds []string
	for range strings.Count(blocks[0].text, "\n---\n") + 1 {
		var m manifest
		require.NoError(t, decoder.Decode(&m))
		require.NotEmpty(t, m.APIVersion)
		require.NotEmpty(t, m.Metadata.Name)
		kinds = append(kinds, m.Kind)
		for _, c := range m.Spec.Template.Spec.Containers {
			checkContainer(t, c, m.Spec.Template.Spec)
		}
		if m.Kind == "Deployment" {
			require.Greater(t, m.Spec.Template.Spec.TerminationGracePeriodSeconds, 22, "more than --shutdown-timeout")
		}
	}
	require.Equal(t, []string{"Job", "Deployment", "PodDisruptionBudget"}, kinds)
}

type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		Template struct{ Spec podSpec }
	}
}

type podSpec struct {
	TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
	Containers                    []container
	Volumes                       []struct{ Name string }
}

type container struct {
	Args []string
	Env  []struct{ Name, Value string }

	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
	LivenessProbe  *probe `yaml:"livenessProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

func checkContainer(t *testing.T, c container, pod podSpec) {
	t.Helper()
	command, rest, err := (&app{}).rootCommand().Find(c.Args)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NotNil(t, command.RunE)
	require.Len(t, c.VolumeMounts, 1)
	require.Equal(t, pod.Volumes[0].Name, c.VolumeMounts[0].Name)
	for _, e := range c.Env {
		require.Contains(t, settingVariables(), e.Name)
		switch {
		case strings.HasSuffix(e.Name, "_FILE"):
			require.Equal(t, c.VolumeMounts[0].MountPath, filepath.Dir(e.Value))
		case e.Name == "IUWORKER_HTTP_ADDR":
			require.Equal(t, e.Value, ":"+strconv.Itoa(c.Ports[0].ContainerPort))
		}
	}
	if c.LivenessProbe != nil {
		require.Equal(t, "/healthz "+c.Ports[0].Name, c.LivenessProbe.HTTPGet.Path+" "+c.LivenessProbe.HTTPGet.Port)
		require.Equal(t, "/readyz "+c.Ports[0].Name, c.ReadinessProbe.HTTPGet.Path+" "+c.ReadinessProbe.HTTPGet.Port)
	}
}

// settingVariables returns the environment variables that the program reads.
func settingVariables() []string {
	names := []string{credentialsVariable, tokensVariable, metricsVariable, passwordVariable}
	root := (&app{}).rootCommand()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if hasVariable(cmd, f) {
				names = append(names, variable(f.Name))
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { names = append(names, variable(f.Name)) })
	walk(root)
	slices.Sort(names)
	return slices.Compact(names)
}

// Prometheus accepts the scrape configuration and the alert rules that it names.
func TestScrapeConfigOfTheDocuments(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestScrapeConfigOfTheDocuments")
	require.Len(t, blocks, 1)
	dir := t.TempDir()
	rules := run(t, environment{}, "metrics", "alerts").done(t).out
	require.NoError(t, os.WriteFile(filepath.Join(dir, "iuworker.rules.yaml"), []byte(rules), 0o600))
	token := filepath.Join(dir, "iuworker-token") // promtool asks for it
	require.NoError(t, os.WriteFile(token, []byte("secret"), 0o600))
	text := strings.ReplaceAll(blocks[0].text, "/etc/prometheus/iuworker-token", token)
	require.NotEqual(t, blocks[0].text, text)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yaml"), []byte(text), 0o600))
	out, err := exec.CommandContext(t.Context(), "promtool", "check", "config", filepath.Join(dir, "prometheus.yaml")).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// A service file selects a database by name.
func TestTheServiceFileOfTheDocuments(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestTheServiceFileOfTheDocuments")
	require.Len(t, blocks, 1)
	db := iutest.New(t)
	address, err := url.Parse(db.URL)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "services")
	text := strings.NewReplacer("db.staging.example.com", address.Hostname()+"\nport="+address.Port()+"\nsslmode=disable",
		"dbname=shop", "dbname="+db.Name, "user=oncall", "user="+address.User.Username()).Replace(blocks[0].text)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	env := environment{"PGSERVICEFILE": file}
	for _, given := range []string{"service=staging", "postgres://?service=staging"} {
		run(t, env, "gate", "status", "--database-url", given).done(t)
	}
}
