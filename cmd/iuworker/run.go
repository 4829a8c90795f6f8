package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/spf13/cobra"
)

// Exit codes of the program.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Run is the program: it runs the command in args and returns the exit code. Results go to stdout, logs and the sentence of
// an error to stderr. It returns soon after ctx is done, whatever the command waits for, and never waits for a stderr that
// is not read. Safe for concurrent use.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	log := newLogWriter(stderr)
	a := &app{
		getenv: getenv,
		stdout: &results{w: stdout, interrupt: ctx.Done()},
		stderr: log,
		logger: slog.New(slog.DiscardHandler),
		ending: ending{limit: commandStop},
	}
	root := a.rootCommand()
	root.SetArgs(append([]string{}, args...)) // never nil: cobra would read os.Args
	root.SetOut(a.stdout)
	root.SetErr(log)
	code := a.exit(a.execute(ctx, root))
	log.flush(a.ending.flushTime())
	return code
}

// app holds what all commands share in one run of the program.
type app struct {
	getenv func(string) string
	stdout *results
	stderr *logWriter
	logger *slog.Logger
	ending ending
	tells  bool                   // the command logs what it does, so its failure is logged as well
	doing  atomic.Pointer[string] // what runs or is being stopped, for the error if that takes too long

	command string // what runs, without the program's name
	login   string // the database user; "" before the address is read

	json     bool // --json
	log      logFlags
	database databaseFlags
}

// exit prints an error as one sentence on stderr, and returns the exit code.
func (a *app) exit(err error) int {
	if err == nil || errors.Is(err, errResultsClosed) {
		return exitDone
	}
	text := a.explain(err)
	if _, wrong := errors.AsType[*usageError](err); !wrong && a.tells && a.log.isJSON(a.stderr) && a.stderr.used.Load() {
		a.logger.Error("Program: failed", slog.String("error", text))
	}
	fmt.Fprintln(a.stderr, "iuworker: "+text)
	if isConfiguration(err) {
		return exitUsage // a supervisor need not restart the program
	}
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "iuworker",
		Short:             "Create instances from templates when applications insert events",
		Version:           programBuild().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
	}
	add := func(title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: title, Title: title})
		for _, c := range commands {
			c.GroupID = title
			root.AddCommand(c)
		}
	}
	add("Start here:", a.demoCommand(), a.devCommand())
	add("Run:", a.migrateCommand(), a.workCommand(), a.serveCommand())
	add("Use:", a.enqueueCommand(), a.scaleoutCommand(), a.subscribeCommand(), a.publishCommand(), a.templatesCommand())
	add("Operate:", a.statusCommand(), a.gateCommand(), a.rollbackCommand(), a.retryCommand(), a.conformanceCommand(),
		a.selftestCommand(), a.drillCommand(), a.benchCommand(), a.metricsCommand(), a.traceCommand(), a.consumersCommand(), a.settingsCommand(),
		a.doctorCommand(), a.verifyCommand(), a.auditCommand(), a.cancelCommand(), a.deadLettersCommand(), a.eventsCommand())
	root.AddCommand(a.completionCommand(root), a.healthcheckCommand(), a.versionCommand(), a.drillStreamCommand())
	root.SetHelpCommand(helpCommand(root))
	root.CompletionOptions.DisableDefaultCmd = true // ours checks its argument

	a.database.register(root.PersistentFlags())
	a.log.register(root.PersistentFlags())
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageTemplate)
	finish(root)
	return root
}

// prepare sets flags from the environment, checks them and sets the log up, before any command runs.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := cmp.Or(applyEnvironment(cmd, a.getenv), checkFlags(cmd)); err != nil {
		return err
	}
	a.logger = a.log.logger(a.stderr, a.getenv, quietLevel)
	a.does(cmd.CommandPath())
	a.command = spoken(cmd)
	return nil
}
