package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iu-core/iuworker/internal/operate/fleet"
)

// cameFrom is the annotation of a flag that a variable set.
const cameFrom = "variable"

// givenSettings returns the settings of a command that somebody gave, for the pages. Addresses come without passwords.
func givenSettings(cmd *cobra.Command, at addresses) []fleet.GivenSetting {
	var given []fleet.GivenSetting
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed || !hasVariable(cmd, f) {
			return
		}
		s := fleet.GivenSetting{Name: f.Name, Value: f.Value.String(), Default: f.DefValue, From: "--" + f.Name}
		if variable := f.Annotations[cameFrom]; len(variable) > 0 {
			s.From = "$" + variable[0]
		}
		switch f.Name {
		case "database-url":
			s.Value = addressOf(at.pool.ConnConfig)
		case "direct-database-url":
			s.Value = addressOf(at.direct)
		case "otlp-endpoint":
			s.Value = withoutSecrets(s.Value)
		}
		given = append(given, s)
	})
	return given
}

// addressOf names a database as psql takes it, without a password.
func addressOf(cfg *pgx.ConnConfig) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", conninfo(cfg.Host), cfg.Port, conninfo(cfg.User), conninfo(cfg.Database))
}

// withoutSecrets returns a URL without what may be one: user, password, query and fragment.
func withoutSecrets(text string) string {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		return strings.Split(text, "?")[0]
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}
