package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/metrics"
	webui "github.com/iu-core/iuworker/riverui"
)

func (a *app) metricsCommand() *cobra.Command {
	printed := func(name, short, text string) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short, Args: noArguments,
			RunE: func(*cobra.Command, []string) error {
				_, err := io.WriteString(a.stdout, text)
				return err
			},
		}
	}
	return holds(&cobra.Command{
		Use:   "metrics",
		Short: "Print the dashboard, the alert rules or the list of the metrics",
		Long: `Prints files for the metrics, which iuworker work serves at /metrics or at --metrics-addr. Needs no database.

  iuworker metrics dashboard > iuworker.json       import it into Grafana
  iuworker metrics alerts > iuworker.rules.yaml    add it to rule_files of Prometheus`,
	},
		printed("dashboard", "Print a dashboard for Grafana (JSON)", metrics.Dashboard),
		printed("alerts", "Print alert rules for Prometheus (YAML)", metrics.Alerts),
		a.metricsListCommand())
}

func (a *app) metricsListCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "list",
		Short: "List all metrics: name, type, labels and meaning",
		RunE: func(*cobra.Command, []string) error {
			catalog := metrics.Catalog()
			return a.print(catalog, func(w io.Writer) {
				columns(w, func(w io.Writer) {
					for _, i := range catalog {
						name := i.Name
						if len(i.Labels) > 0 {
							name += "{" + strings.Join(i.Labels, ",") + "}"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\n", name, i.Type, i.Help)
					}
				})
			})
		},
	})
}

const metricsTokensHelp = "file of bearer tokens for /metrics, one per line, for scrapers; or give its lines in " + metricsVariable

// metricsAccess are the settings that say who may read the metrics, beside the users of the pages.
type metricsAccess struct {
	tokens string // a file
	open   bool
}

// read reads the tokens; it returns nil if there are none.
func (f metricsAccess) read(cmd *cobra.Command, getenv func(string) string) (*webui.Tokens, error) {
	tokens, err := readSecrets(cmd, "--metrics-token-file", f.tokens, metricsVariable, getenv, webui.ReadTokens, webui.ParseTokens)
	if err == nil && tokens != nil && f.open {
		err = usage(cmd, "--metrics-open and the tokens of the metrics contradict each other: give one of them")
	}
	return tokens, err
}

// listenForMetrics listens on the metrics' own address, and removes them from the pages. Without such an address it returns nil.
func listenForMetrics(ctx context.Context, addr string, web *webui.Config) (*webui.Server, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // they are served with the pages
	}
	handler, err := webui.NewMetrics(*web)
	if err != nil {
		return nil, err
	}
	web.Metrics = nil
	return webui.Listen(ctx, addr, handler)
}
