package main

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	completed        = 100 // values that a shell is offered
	completeDeadline = 2 * time.Second
)

// complete offers values from the database. A shell that waits must not wait long, nor read an error: without a database
// there are no values.
func (a *app) complete(cmd *cobra.Command, read func(ctx context.Context, pool *pgxpool.Pool) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeDeadline)
	defer cancel()
	cmd.SetContext(ctx)
	if err := applyEnvironment(cmd, a.getenv); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var values []string
	_ = a.onDatabase(cmd, completeDeadline, func(ctx context.Context, pool *pgxpool.Pool) (err error) {
		values, err = read(ctx, pool)
		return err
	})
	return values, cobra.ShellCompDirectiveNoFileComp
}

// completeConsumers completes names of consumers.
func (a *app) completeConsumers(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(cmd, func(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
		consumers, err := subscribe.ListConsumers(ctx, pool)
		var names []string
		for _, consumer := range consumers {
			if strings.HasPrefix(consumer.Name, prefix) && len(names) < completed {
				names = append(names, consumer.Name)
			}
		}
		return names, err
	})
}

// completeScaleouts completes prefixes of scale-outs.
func (a *app) completeScaleouts(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(cmd, func(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
		return operate.ScaleoutPrefixes(ctx, pool, text, completed)
	})
}
