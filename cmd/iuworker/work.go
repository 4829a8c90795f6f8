package main

import "github.com/spf13/cobra"

func (a *app) workCommand() *cobra.Command {
	f := defaultWorkFlags()
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Run the worker: relay, jobs, emitter and pages",
		Long: `Runs all parts in one process. Any number of processes share the work. SIGTERM and Ctrl-C let running jobs finish, and
the program ends within --shutdown-timeout; a second signal ends it at once. Nothing is lost either way.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.logger = a.log.logger(a.stderr, a.getenv, toldLevel)
			a.tells = true
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(f.poolSize, given(cmd, "pool-size"))
			f.worker.Given = givenSettings(cmd, at)
			if f.worker.ScaleoutConcurrency == 0 {
				f.worker.ScaleoutConcurrency = -1
			}
			who, err := f.access(cmd, a.getenv)
			if err != nil {
				return err
			}
			if err := f.readTracing(cmd, a.getenv); err != nil {
				return err
			}
			return untilSignal(cmd.Context(), a.serve(cmd.Context(), at, f, who, nil))
		},
	}
	takesSettings(cmd)
	f.register(cmd, ofWork)
	return cmd
}
