package main

import (
	"cmp"
	"os/user"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
)

const actorMax = 200

// actorFlag adds --actor.
func actorFlag(cmd *cobra.Command, to *string, what string) {
	cmd.Flags().Var(textValue(to, actorMax), "actor", what)
}

// operator returns who makes the changes of a command: actor, or the user who runs the program if that is "".
func operator(pool *pgxpool.Pool, actor string) operate.Operator {
	return operate.Operator{Pool: pool, Actor: cmp.Or(actor, systemUser())}
}

// auditFlag adds --actor for the name in the audit.
func auditFlag(cmd *cobra.Command, to *string) {
	actorFlag(cmd, to, "name for the audit (default the user of this process)")
}

// systemUser returns the user who runs the program.
func systemUser() string {
	current, err := user.Current()
	if err != nil || current.Username == "" {
		return "iuworker"
	}
	return current.Username
}
