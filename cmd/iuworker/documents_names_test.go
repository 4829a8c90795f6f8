package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var (
	programVariable = regexp.MustCompile(`IUWORKER_[A-Z_]+`)
	programFlag     = regexp.MustCompile(`(?:^|[ (\x60])--([a-z][a-z-]+)`)
	programCommand  = regexp.MustCompile(`(?:^|[ /])iuworker ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)`)
)

// The variables, flags and commands that the documents name exist.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	t.Parallel()
	flags, commands := flagsAndCommands((&app{}).rootCommand())
	variables := settingVariables()
	for name, text := range sources(t, ".md") {
		if name == "CHANGELOG.md" {
			continue // it may name what no longer exists
		}
		for _, found := range programVariable.FindAllString(text, -1) {
			require.Contains(t, variables, found, name)
		}
		for _, span := range codeSpan.FindAllString(fencedBlock.ReplaceAllString(text, ""), -1) {
			span = strings.Trim(span, "`")
			for _, found := range programFlag.FindAllStringSubmatch(span, -1) {
				if !strings.HasPrefix(span, "pg_restore ") && !strings.HasPrefix(span, "psql ") {
					require.True(t, flags[found[1]], "%s: `%s`: there is no flag --%s", name, span, found[1])
				}
			}
			for _, found := range programCommand.FindAllStringSubmatch(span, -1) {
				words := strings.Fields(found[1])
				require.True(t, commands[words[0]], "%s: `%s`: there is no command %s", name, span, words[0])
				if len(words) > 1 && commands[words[0]+" "] { // it has subcommands
					require.True(t, commands[words[0]+" "+words[1]], "%s: `%s`: there is no command %s %s", name, span, words[0], words[1])
				}
			}
		}
	}
}

// flagsAndCommands returns the names of all flags and commands. A command with subcommands is also listed with a space after it.
func flagsAndCommands(root *cobra.Command) (flags, commands map[string]bool) {
	flags, commands = map[string]bool{"help": true, "version": true}, map[string]bool{"help": true}
	note := func(f *pflag.Flag) { flags[f.Name] = true }
	root.PersistentFlags().VisitAll(note)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(note)
		name := spoken(cmd)
		commands[name] = true
		if cmd.HasSubCommands() && cmd.RunE == nil {
			commands[name+" "] = true
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, cmd := range root.Commands() {
		walk(cmd)
	}
	return flags, commands
}

var (
	loggedRow  = regexp.MustCompile("(?m)^\\| (`[A-Z].*?`(?:[^|]*`[^`|]*`)*)[^|]* \\|")
	loggedLine = regexp.MustCompile("`([A-Z][a-z]+: [^`]+)`")
)

// assembled lists lines that the program assembles from several texts.
var assembled = map[string]bool{
	"Log: N log lines were dropped":                 true,
	"Pages: the credentials cannot be read again":   true,
	"Pages: the credentials were read again":        true,
	"Publisher: broker is back":                     true,
	"Publisher: broker lost":                        true,
	"Relay: blocked by a fault of the installation": true,
	"Subscriber: the standby cannot be read":        true,
	"Worker: waiting for the database":              true,
}

// The program writes the lines of the log that docs/operate.md explains.
func TestDocumentedLogLinesAreWritten(t *testing.T) {
	t.Parallel()
	_, section, found := strings.Cut(sources(t, "operate.md")["docs/operate.md"], "\n## The log\n")
	require.True(t, found)
	var code string
	for name, text := range sources(t, ".go") {
		if !strings.HasSuffix(name, "_test.go") {
			code += text
		}
	}
	var checked int
	for _, row := range loggedRow.FindAllStringSubmatch(section, -1) {
		for _, line := range loggedLine.FindAllStringSubmatch(row[1], -1) {
			checked++
			require.True(t, assembled[line[1]] || strings.Contains(code, line[1]), line[1])
		}
	}
	require.Greater(t, checked, 20)
}
