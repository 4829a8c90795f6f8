package main

import (
	"os/user"

	"github.com/spf13/cobra"
)

const actorMax = 200

// actorFlag adds --actor: in whose name something is done.
func actorFlag(cmd *cobra.Command, to *string, what string) {
	cmd.Flags().Var(textValue(to, actorMax), "actor", what)
}

// systemUser is the actor if none is given: the user who runs the program.
func systemUser() string {
	current, err := user.Current()
	if err != nil || current.Username == "" {
		return "iuworker"
	}
	return current.Username
}
