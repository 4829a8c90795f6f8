package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	iusql "github.com/iu-core/iuworker/sql"
)

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the program, of the schema it works on, and of Go",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			result := struct {
				Program string `json:"program"`
				Schema  int    `json:"schema"`
				Go      string `json:"go"`
			}{iusql.ProgramVersion, iusql.SchemaVersion, runtime.Version()}
			return a.print(asJSON, result, func(w io.Writer) {
				fmt.Fprintf(w, "iuworker %s, schema %d, %s\n", result.Program, result.Schema, result.Go)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
