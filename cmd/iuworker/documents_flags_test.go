package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestFlagTable(t *testing.T) {
	t.Parallel()
	generated(t, "docs/configure.md", "flags", flagTable((&app{}).rootCommand()))
}

// saidDefault matches a default that a flag's help describes in words.
var saidDefault = regexp.MustCompile(` \(default ([^)]*)\)$`)

// flagRow is a row of the table: a flag, and the commands for which it has the same meaning.
type flagRow struct {
	name, kind, fallback, usage string
	setting                     bool // it has a variable
}

// flagTable returns the table of docs/configure.md: the flags of all commands, then those of work, then the others by name.
func flagTable(root *cobra.Command) string {
	commands := map[flagRow][]string{}
	note := func(cmd *cobra.Command, f *pflag.Flag, command string) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		usage := strings.TrimSuffix(f.Usage, " [$"+variable(f.Name)+"]")
		row := flagRow{f.Name, f.Value.Type(), f.DefValue, usage, hasVariable(cmd, f)}
		commands[row] = append(commands[row], command)
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { note(root, f, "every command") })
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { note(cmd, f, spoken(cmd)) })
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)

	rank := func(row flagRow) int {
		switch {
		case slices.Contains(commands[row], "every command"):
			return 0
		case slices.Contains(commands[row], "work"):
			return 1
		}
		return 2
	}
	rows := slices.SortedFunc(maps.Keys(commands), func(a, b flagRow) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.name, b.name), cmp.Compare(commands[a][0], commands[b][0]))
	})
	const head = "| flag and variable | default | of | meaning |\n| --- | --- | --- | --- |\n"
	var table strings.Builder
	table.WriteString(head)
	others := slices.IndexFunc(rows, func(row flagRow) bool { return rank(row) == 2 })
	for i, row := range rows {
		if i == others {
			table.WriteString("\n<details><summary>Flags of the other commands</summary>\n\n" + head)
		}
		kind := " " + strings.ReplaceAll(row.kind, "|", `\|`)
		if row.kind == "bool" {
			kind = ""
		}
		usage, fallback := row.usage, row.fallback
		if said := saidDefault.FindStringSubmatch(usage); said != nil {
			usage, fallback = strings.TrimSuffix(usage, said[0]), said[1]
		} else if fallback == "false" || fallback == "0" {
			fallback = "" // none
		} else if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		slices.Sort(commands[row])
		named := ""
		if row.setting {
			named = " `" + variable(row.name) + "`"
		}
		fmt.Fprintf(&table, "| `--%s%s`%s | %s | %s | %s |\n",
			row.name, kind, named, fallback, strings.Join(commands[row], ", "), usage)
	}
	return table.String() + "\n</details>\n"
}
