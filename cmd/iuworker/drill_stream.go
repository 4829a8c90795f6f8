package main

import (
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/drill"
)

// drillStreamCommand runs a stream client of drill, which starts each of them in a process of its own. Nobody else needs it.
func (a *app) drillStreamCommand() *cobra.Command {
	var client drill.StreamClient
	cmd := &cobra.Command{
		Use:    drill.StreamCommand + " <url>",
		Short:  "Print the messages of an event stream as JSON lines, for drill",
		Hidden: true,
		Args: oneArgument("the URL of the events", "URL", func(_ *cobra.Command, arg string) error {
			client.URL = arg
			return nil
		}),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client.Token, client.Output, client.Logger = a.getenv(tokensVariable), a.stdout, a.logger
			return client.Run(cmd.Context())
		},
	}
	cmd.Flags().Var(textValue(&client.After, 1000), "after", "continue after this cursor")
	_ = cmd.Flags().MarkHidden("after") // it exists
	return cmd
}
