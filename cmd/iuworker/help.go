package main

import (
	"fmt"

	"github.com/spf13/cobra"
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
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, "completion needs a shell: bash, fish, powershell or zsh")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			write := map[string]func() error{
				"bash":       func() error { return root.GenBashCompletionV2(a.stdout, true) },
				"fish":       func() error { return root.GenFishCompletion(a.stdout, true) },
				"powershell": func() error { return root.GenPowerShellCompletionWithDesc(a.stdout) },
				"zsh":        func() error { return root.GenZshCompletion(a.stdout) },
			}[args[0]]
			if write == nil {
				return usage(cmd, "there is no completion for %s: use bash, fish, powershell or zsh", quoted(args[0]))
			}
			if err := write(); err != nil {
				return fmt.Errorf("write the completion script: %w", err)
			}
			return nil
		},
	}
}
