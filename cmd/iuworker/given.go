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

// givenSettings returns the settings that the user gave, for the pages. Addresses have no passwords.
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

// addressOf returns an address as psql takes it, without a password: psql asks for it, or knows it from elsewhere.
func addressOf(cfg *pgx.ConnConfig) string {
	text := fmt.Sprintf("host=%s port=%d user=%s", conninfo(cfg.Host), cfg.Port, conninfo(cfg.User))
	if cfg.Database != "" {
		text += " dbname=" + conninfo(cfg.Database)
	}
	return text
}

// conninfo quotes a value for a connection string if it needs that.
func conninfo(value string) string {
	if value != "" && !strings.ContainsAny(value, ` '\`) {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// withoutSecrets returns a URL without the parts that may be secret: user, password, query and fragment.
func withoutSecrets(text string) string {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		return strings.Split(text, "?")[0]
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String()
}
