package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// helpCommand is cobra's, but an unknown topic is wrong usage.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show help for a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage(cmd, "there is no command %s", quoted(args[len(args)-max(len(rest), 1)]))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

var shells = []string{"bash", "fish", "powershell", "zsh"}

func (a *app) completionCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|fish|powershell|zsh",
		Short: "Print a shell completion script",
		Example: `  source <(iuworker completion bash)
  iuworker completion zsh > "${fpath[1]}/_iuworker"
  iuworker completion fish > ~/.config/fish/completions/iuworker.fish`,
		ValidArgs: shells,
		Args: oneArgument("a shell: bash, fish, powershell or zsh", "shell", func(cmd *cobra.Command, shell string) error {
			if !slices.Contains(shells, shell) {
				return usage(cmd, "there is no completion for %s: use bash, fish, powershell or zsh", quoted(shell))
			}
			return nil
		}),
		RunE: func(_ *cobra.Command, args []string) error {
			write := map[string]func() error{
				"bash":       func() error { return root.GenBashCompletionV2(a.stdout, true) },
				"fish":       func() error { return root.GenFishCompletion(a.stdout, true) },
				"powershell": func() error { return root.GenPowerShellCompletionWithDesc(a.stdout) },
				"zsh":        func() error { return root.GenZshCompletion(a.stdout) },
			}[args[0]]
			return write()
		},
	}
}

const (
	completionLimit    = 100 // most values that a shell gets
	completionDeadline = 2 * time.Second
)

// completes offers values from the database for the first argument. A shell must neither wait long nor show an error: if the
// database cannot be read, there are no values.
func (a *app) completes(read func(ctx context.Context, db operate.Querier, prefix string, limit int) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) (values []string, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionDeadline)
		defer cancel()
		cmd.SetContext(ctx)
		if len(args) == 0 && applyEnvironment(cmd, a.getenv) == nil {
			_ = a.onDatabase(cmd, completionDeadline, func(ctx context.Context, pool *pgxpool.Pool) (err error) {
				values, err = read(ctx, pool, prefix, completionLimit)
				return err
			})
		}
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

func consumerNames(ctx context.Context, db operate.Querier, prefix string, limit int) (names []string, err error) {
	consumers, err := subscribe.ListConsumers(ctx, db)
	for _, consumer := range consumers {
		if strings.HasPrefix(consumer.Name, prefix) && len(names) < limit {
			names = append(names, consumer.Name)
		}
	}
	return names, err
}
