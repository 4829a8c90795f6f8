package main

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

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
