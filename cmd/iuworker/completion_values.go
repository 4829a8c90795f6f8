package main

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	completed        = 100 // most values that a shell gets
	completeDeadline = 2 * time.Second
)

// completes offers values from the database for the first argument. A shell must neither wait long nor show an error: if the
// database cannot be read, there are no values.
func (a *app) completes(read func(ctx context.Context, pool *pgxpool.Pool, prefix string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) (values []string, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeDeadline)
		defer cancel()
		cmd.SetContext(ctx)
		if len(args) == 0 && applyEnvironment(cmd, a.getenv) == nil {
			_ = a.onDatabase(cmd, completeDeadline, func(ctx context.Context, pool *pgxpool.Pool) (err error) {
				values, err = read(ctx, pool, prefix)
				return err
			})
		}
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completeConsumers() cobra.CompletionFunc {
	return a.completes(func(ctx context.Context, pool *pgxpool.Pool, prefix string) (names []string, err error) {
		consumers, err := subscribe.ListConsumers(ctx, pool)
		for _, consumer := range consumers {
			if strings.HasPrefix(consumer.Name, prefix) && len(names) < completed {
				names = append(names, consumer.Name)
			}
		}
		return names, err
	})
}

func (a *app) completeScaleouts() cobra.CompletionFunc {
	return a.completes(func(ctx context.Context, pool *pgxpool.Pool, prefix string) ([]string, error) {
		return scaleout.Prefixes(ctx, pool, prefix, completed)
	})
}

func (a *app) completeTemplates() cobra.CompletionFunc {
	return a.completes(func(ctx context.Context, pool *pgxpool.Pool, prefix string) ([]string, error) {
		return templates.Keys(ctx, pool, prefix, completed)
	})
}
