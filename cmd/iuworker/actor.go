package main

import (
	"cmp"
	"os/user"

	"github.com/spf13/cobra"
)

const actorMax = 200

// actorFlag adds --actor.
func actorFlag(cmd *cobra.Command, to *string, what string) {
	cmd.Flags().Var(textValue(to, actorMax), "actor", what)
}

// auditFlag adds --actor for the name in the audit.
func auditFlag(cmd *cobra.Command, to *string) {
	actorFlag(cmd, to, "name for the audit (default the user of this process)")
}

func actorOrUser(actor string) string { return cmp.Or(actor, systemUser()) }

// systemUser returns the user who runs the program.
func systemUser() string {
	current, err := user.Current()
	if err != nil || current.Username == "" {
		return "iuworker"
	}
	return current.Username
}
