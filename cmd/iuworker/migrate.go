package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	iusql "github.com/iu-core/iuworker/sql"
)

type migrateFlags struct {
	lockTimeout, wait time.Duration
}

func (f *migrateFlags) register(cmd *cobra.Command) {
	f.lockTimeout, f.wait = iusql.DefaultLockTimeout, iusql.DefaultWait
	cmd.Flags().Var(durationValue(&f.lockTimeout, 10*time.Millisecond, time.Hour), "lock-timeout",
		"longest wait for a table lock per try; other sessions that need that table wait meanwhile")
	cmd.Flags().Var(durationValue(&f.wait, time.Millisecond, day), "wait",
		"how long to retry, and to wait for another migration")
}

func (a *app) migrateCommand() *cobra.Command {
	return holds(&cobra.Command{Use: "migrate", Short: "Migrate the schema up or down, or show its version"},
		a.migrateUpCommand(), a.migrateDownCommand(), a.migrateStatusCommand())
}

// migration returns the configuration of a migration, which needs a session.
func (a *app) migration(cmd *cobra.Command, f migrateFlags) (iusql.Config, error) {
	a.logger = a.log.logger(a.stderr, a.getenv, toldLevel) // the database sends notices
	at, err := a.addresses(cmd)
	if err != nil {
		return iusql.Config{}, err
	}
	return iusql.Config{ConnConfig: at.direct, Logger: a.logger, LockTimeout: f.lockTimeout, Wait: f.wait}, nil
}

func (a *app) migrateUpCommand() *cobra.Command {
	var f migrateFlags
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Migrate the schema to the version of this program",
		Long: `Creates what is missing: the iu-core baseline if there is no iu-core, migration 033, the worker's schema iu_outbox, and
River in iu_river. An existing iu-core is adopted and not altered. Conflicts are named before anything changes. Any number
of programs may migrate at once: one does it, the others wait.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.migration(cmd, f)
			if err != nil {
				return err
			}
			if printOnly {
				return iusql.Print(cmd.Context(), cfg, a.stdout)
			}
			result, err := iusql.Up(cmd.Context(), cfg)
			if err != nil {
				return &markedError{err, errMigration}
			}
			return a.print(result, func(w io.Writer) { writeMigrated(w, result) })
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&printOnly, "print", false, "print every statement, and change nothing")
	return a.withJSON(cmd)
}

func writeMigrated(w io.Writer, result *iusql.Result) {
	did := "applied"
	if result.To < result.From {
		did = "removed"
	}
	for _, version := range result.Versions {
		fmt.Fprintf(w, "%s %d, %s", did, version.Version, version.Name)
		if version.Origin != "" {
			fmt.Fprintf(w, " (%s)", version.Origin)
		}
		fmt.Fprintln(w)
	}
	if result.Functions {
		fmt.Fprintln(w, "installed the functions")
	}
	since := "now"
	if result.From == result.To {
		since = "already"
	}
	fmt.Fprintf(w, "the schema is %s at version %d\n", since, result.To)
}

func (a *app) migrateDownCommand() *cobra.Command {
	var f migrateFlags
	var to int
	var force bool
	cmd := &cobra.Command{
		Use:   "down --to VERSION",
		Short: "Migrate the schema down to a version",
		Long: `Down to 32 removes iu_outbox, iu_river and a 033 that iuworker created, and nothing of iu-core. Refuses while there are
rows in the outbox, unfinished jobs, emissions, dead letters or log rows, unless --force is given.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.migration(cmd, f)
			if err != nil {
				return err
			}
			cfg.Force = force
			result, err := iusql.Down(cmd.Context(), cfg, int64(to))
			if errors.Is(err, iusql.ErrUsage) {
				return usage(cmd, "%v", err)
			}
			if err != nil {
				return err
			}
			return a.print(result, func(w io.Writer) { writeMigrated(w, result) })
		},
	}
	f.register(cmd)
	cmd.Flags().Var(intValue(&to, 32, iusql.SchemaVersion), "to", "version to migrate down to")
	cmd.Flags().BoolVar(&force, "force", false, "migrate down even if rows are lost (sets iu_core.force_rollback_033)")
	requireFlags(cmd, "to")
	return a.withJSON(cmd)
}

func (a *app) migrateStatusCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "status",
		Short: "Show each version, when it was applied, and what was created or adopted",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.migration(cmd, migrateFlags{})
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), quickly)
			defer cancel()
			report, err := iusql.Status(ctx, cfg)
			if err != nil {
				return err
			}
			return a.print(report, func(w io.Writer) { writeSchema(w, report) })
		},
	})
}

func writeSchema(w io.Writer, report *iusql.StatusReport) {
	fmt.Fprintf(w, "database %s\n", report.Database)
	columns(w, func(w io.Writer) {
		for _, version := range report.Versions {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", version.Version, version.Name, version.State,
				ifKnown(version.AppliedAt, stamp), version.Origin)
		}
		fmt.Fprintf(w, "\tfunctions\t%s\t\t\n", report.Functions)
	})
	if !report.Current {
		fmt.Fprintln(w, "to bring it up to date, run: iuworker migrate up")
	}
}
