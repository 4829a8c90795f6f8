package main

import (
	"cmp"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/spelling"
)

// usageTemplate is cobra's, but its lines fit a wide terminal, and only the help of the program itself lists the global flags.
const usageTemplate = `Usage:{{if .HasAvailableSubCommands}}{{if .Annotations.acts}}
  {{.UseLine}}{{end}}
  {{.CommandPath}} COMMAND{{else}}
  {{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$commands := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $commands}}{{if and (eq .GroupID $group.ID) .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}

More:{{range $commands}}{{if and (eq .GroupID "") .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

{{if .HasParent}}Flags{{else}}Global flags{{end}}:
{{.LocalFlags.FlagUsagesWrapped 110 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags: iuworker --help{{end}}{{if .HasAvailableSubCommands}}

More about a command: {{.CommandPath}} COMMAND --help{{end}}
`

// Annotations of commands and flags.
const (
	isSettings = "settings" // the command runs long: its flags are settings
	isRequired = "required" // the flags that the command needs
	acts       = "acts"     // the command does something itself and has others below it, for the usage
	cameFrom   = "variable" // the variable that set the flag
	excludes   = "excludes" // the flags that contradict the flag
)

func annotate(cmd *cobra.Command, key, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[key] = value
}

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "IUWORKER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// takesSettings marks a command that runs long: its flags are settings, which have variables.
func takesSettings(cmd *cobra.Command) { annotate(cmd, isSettings, "yes") }

// hasVariable reports whether a flag has an environment variable: global flags and the settings of commands that run long
// have one. A flag that says what to act on, or confirms it, has none, as a variable that was exported for one command
// would silently change another.
func hasVariable(cmd *cobra.Command, f *pflag.Flag) bool {
	switch f.Name {
	case "help", "version", "json", "yes", "dry-run", "ready":
		return false
	}
	return cmd.Root().PersistentFlags().Lookup(f.Name) == f || cmd.Annotations[isSettings] != ""
}

// finish sets what all commands have in common: a command without arguments refuses them, one that only holds others names
// them, the help shows the variables of flags, and shells complete choices.
func finish(cmd *cobra.Command) {
	switch {
	case cmd.HasSubCommands() && cmd.RunE == nil:
		cmd.Args, cmd.RunE = noSuchSubcommand, needsSubcommand
	case cmd.HasSubCommands():
		cmd.Args = noSuchSubcommand
		annotate(cmd, acts, "yes")
	case cmd.Args == nil:
		cmd.Args = noArguments
	}
	document := func(f *pflag.Flag) {
		if hasVariable(cmd, f) {
			f.Usage += " [$" + variable(f.Name) + "]"
		}
		if choice, ok := f.Value.(*choice); ok {
			words := cobra.FixedCompletions(choice.words, cobra.ShellCompDirectiveNoFileComp)
			_ = cmd.RegisterFlagCompletionFunc(f.Name, words) // the flag exists
		}
	}
	cmd.PersistentFlags().VisitAll(document)
	cmd.Flags().VisitAll(document)
	for _, sub := range cmd.Commands() {
		finish(sub)
	}
}

// applyEnvironment sets flags by their variables, unless the command line did. They count as given then.
func applyEnvironment(cmd *cobra.Command, getenv func(string) string) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || !hasVariable(cmd, f) {
			return
		}
		value := getenv(variable(f.Name))
		if value == "" {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
				err = invalid.Unwrap()
			}
			failed = usage(cmd, "%s is %s: %v", variable(f.Name), quoted(value), err)
			return
		}
		failed = cmd.Flags().SetAnnotation(f.Name, cameFrom, []string{variable(f.Name)})
	})
	return failed
}

// flagError makes an error of the flag parser read like all other errors.
func flagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if unknown.GetSpecifiedShortnames() != "" {
			return usage(cmd, "there is no flag -%s", unknown.GetSpecifiedName())
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		name := unknown.GetSpecifiedName()
		return usage(cmd, "there is no flag --%s%s", name, didYouMean("--", nearest(name, names)))
	}
	if empty, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usage(cmd, "--%s needs a value", empty.GetSpecifiedName())
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usage(cmd, "--%s is %s: %v", invalid.GetFlag().Name, quoted(invalid.GetValue()), invalid.Unwrap())
	}
	return usage(cmd, "%v", err)
}

// nearest returns the name that a mistyped word most likely means, or "".
func nearest(word string, names []string) string {
	if meant := spelling.Nearest(word, names); meant != "" || len(word) < 3 {
		return meant
	}
	for _, name := range names {
		if strings.HasPrefix(name, word) || strings.HasPrefix(word, name) {
			return name
		}
	}
	return ""
}

func didYouMean(prefix, name string) string {
	if name == "" {
		return ""
	}
	return ", did you mean " + prefix + name + "?"
}

// given reports whether a flag has a value from the command line or the environment.
func given(cmd *cobra.Command, flag string) bool { return cmd.Flags().Changed(flag) }

// requireFlags makes a command fail as wrong usage unless the flags are given.
func requireFlags(cmd *cobra.Command, flags ...string) {
	annotate(cmd, isRequired, strings.Join(flags, " "))
}

// excludeFlags makes a command fail as wrong usage if a flag is given together with one of the others.
func excludeFlags(cmd *cobra.Command, flag string, others ...string) {
	_ = cmd.Flags().SetAnnotation(flag, excludes, others) // the flag exists
}

// checkFlags fails if a required flag is missing, or if flags contradict each other.
func checkFlags(cmd *cobra.Command) (failed error) {
	for flag := range strings.FieldsSeq(cmd.Annotations[isRequired]) {
		if !given(cmd, flag) {
			return usage(cmd, "--%s is missing", flag)
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		for _, other := range f.Annotations[excludes] {
			if f.Changed && given(cmd, other) {
				failed = cmp.Or(failed, usage(cmd, "--%s and --%s contradict each other: give one of them", f.Name, other))
			}
		}
	})
	return failed
}

// noArguments is for commands that only take flags.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "%s takes no argument, such as %s", spoken(cmd), quoted(args[0]))
	}
	return nil
}

// oneArgument is for commands with one argument: needs describes the argument, noun names it.
func oneArgument(needs, noun string, check func(cmd *cobra.Command, arg string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usage(cmd, "%s needs %s", spoken(cmd), needs)
		case 1:
			return check(cmd, args[0])
		default:
			return usage(cmd, "%s takes one %s, not %d", spoken(cmd), noun, len(args))
		}
	}
}

// holds adds subcommands to a command, and returns it.
func holds(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(below...)
	return cmd
}

// needsSubcommand is for commands that do nothing themselves.
func needsSubcommand(cmd *cobra.Command, _ []string) error {
	if !cmd.HasParent() {
		return cmd.Help()
	}
	return usage(cmd, "%s needs a command: one of %s", spoken(cmd), strings.Join(subcommands(cmd), ", "))
}

func subcommands(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// noSuchSubcommand is for commands with subcommands: an argument is a mistyped one.
func noSuchSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	mistyped := quoted(strings.TrimSpace(spoken(cmd) + " " + args[0]))
	return usage(cmd, "there is no command %s%s", mistyped, didYouMean("", nearest(args[0], subcommands(cmd))))
}

// spoken returns a command without the program's name, with which every error begins anyway.
func spoken(cmd *cobra.Command) string {
	return strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()))
}
