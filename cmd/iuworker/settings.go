package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

func (a *app) settingsCommand() *cobra.Command {
	return holds(a.withJSON(&cobra.Command{
		Use:   "settings",
		Short: "Show or change the settings of the installation",
		Long: `Shows the settings that are stored in the database. A change applies to all processes at once, whatever their flags.
notify-payload sets what a notification carries, which every login of the database can read: the event, or its cursor
alone. Subscribers work with either.`,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) ([]operate.Setting, error) {
			return operate.Settings(ctx, pool)
		}, writeSettings),
	}), a.settingsSetCommand())
}

func writeSettings(w io.Writer, settings []operate.Setting) {
	table(w, settings, "", "NAME\tVALUE\tDEFAULT\tCHOICES\tSET\tMEANING", func(w io.Writer, s operate.Setting) {
		set := "never"
		if s.UpdatedBy != nil && s.UpdatedAt != nil {
			set = "by " + oneLine(s.UpdatedBy) + ", " + stamp(*s.UpdatedAt)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, oneLine(&s.Value), s.Default, strings.Join(s.Choices, " or "), set, s.Meaning)
	})
}

type settingChanged struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	Now    string `json:"now"`
	Actor  string `json:"actor"`
}

func (a *app) settingsSetCommand() *cobra.Command {
	var actor string
	cmd := &cobra.Command{
		Use:       "set NAME VALUE",
		Short:     "Change a setting for all processes, at once",
		Example:   "  iuworker settings set notify-payload cursor",
		ValidArgs: []string{operate.SettingNotifyPayload},
		Args:      oneSetting,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) (settingChanged, error) {
			by := operator(pool, actor)
			was, err := by.SetSetting(ctx, args[0], args[1])
			return settingChanged{Name: args[0], Before: was, Now: args[1], Actor: by.Actor}, err
		}, writeSettingChanged),
	}
	auditFlag(cmd, &actor)
	return a.withJSON(cmd)
}

func oneSetting(cmd *cobra.Command, args []string) error {
	all := operate.SettingChoices()
	names := slices.Sorted(maps.Keys(all))
	switch {
	case len(args) < 2:
		return usage(cmd, "%s needs a setting (%s) and its value", spoken(cmd), strings.Join(names, ", "))
	case len(args) > 2:
		return usage(cmd, "%s takes a setting and its value, not %d arguments", spoken(cmd), len(args))
	case all[args[0]] == nil:
		return usage(cmd, "there is no setting %s: use %s", quoted(args[0]), strings.Join(names, " or "))
	case !slices.Contains(all[args[0]], args[1]):
		return usage(cmd, "%s cannot be %s: use %s", args[0], quoted(args[1]), strings.Join(all[args[0]], " or "))
	}
	return nil
}

func writeSettingChanged(w io.Writer, c settingChanged) {
	if c.Before == c.Now {
		fmt.Fprintf(w, "%s was already %s\n", c.Name, c.Now)
		return
	}
	fmt.Fprintf(w, "%s is now %s; it was %s (by %s)\n", c.Name, c.Now, c.Before, c.Actor)
}
