package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// nowhere is an address that refuses connections: a command that tries to connect exits with 1.
const nowhere = "postgres://nobody@127.0.0.1:1/nothing"

func TestWrongUsageIsFoundBeforeConnecting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		env  environment
		says string
	}{
		{args: "fly", says: `there is no command "fly"`},
		{args: "statsu", says: `there is no command "statsu", did you mean status?`},
		{args: "help fly", says: `there is no command "fly"`},
		{args: "help gate fly", says: `there is no command "fly"`},
		{args: "gate", says: "gate needs a command: one of close, open, status"},
		{args: "gate ajar", says: `there is no command "gate ajar"`},
		{args: "gate oepn composer", says: `did you mean open?`},
		{args: "gate open", says: "gate open needs a gate: composer or auto-instantiate"},
		{args: "gate open door", says: `there is no gate "door": use composer or auto-instantiate`},
		{args: "gate open composer auto-instantiate", says: "gate open takes one gate"},
		{args: "gate status composer", says: "gate status takes no argument"},
		{args: "gate open composer --actor=", says: "--actor is \"\": it must not be blank"},
		{args: "migrate", says: "migrate needs a command: one of down, status, up"},
		{args: "migrate up now", says: `migrate up takes no argument, such as "now"`},
		{args: "migrate down", says: "--to is missing"},
		{args: "migrate down --to 31", says: `--to is "31": it must be a whole number from 32 to`},
		{args: "migrate down --to 99", says: "--to is"},
		{args: "migrate up --lock-timeout 5", says: `it has no unit: write 5s, 5m, 5h or 5d`},
		{args: "work --concurrency 0", says: "from 1 to 10000"},
		{args: "work --concurrency many", says: `--concurrency is "many"`},
		{args: "work --concurrency", says: "--concurrency needs a value"},
		{args: "work --concurency 3", says: "there is no flag --concurency, did you mean --concurrency?"},
		{args: "work --pool", says: "there is no flag --pool, did you mean --pool-size?"},
		{args: "work -z", says: "there is no flag -z"},
		{args: "work --completed-retention never", says: "such as 30d"},
		{args: "work --completed-retention -1", says: "without a sign"},
		{args: "work --shutdown-timeout forever", says: "such as 30d"},
		{args: "work --http-addr 8080", says: "it must be host:port"},
		{args: "work --http-addr localhost:http", says: "it must be host:port"},
		{args: "work --http-base-path iuworker", says: "it must be like /iuworker"},
		{args: "work --http-credentials-file /nowhere/at/all", says: "no such file"},
		{args: "dev --http-credentials-file /nowhere/at/all", env: environment{"IUWORKER_DATABASE_URL": ""}, says: "no such file"},
		{args: "work", env: environment{"IUWORKER_HTTP_CREDENTIALS": "viewer:ann"}, says: "IUWORKER_HTTP_CREDENTIALS: line 1: it must be"},
		{
			args: "work --http-credentials-file f", env: environment{"IUWORKER_HTTP_CREDENTIALS": "viewer:ann:longenough"},
			says: "contradict each other",
		},
		{args: "work --log-level loud", says: "it must be one of debug, info, warn, error"},
		{args: "work", env: environment{"IUWORKER_CONCURRENCY": "many"}, says: `IUWORKER_CONCURRENCY is "many": it must be`},
		{args: "work", env: environment{"IUWORKER_HTTP_ADDR": "x"}, says: "IUWORKER_HTTP_ADDR"},
		{args: "status", env: environment{"IUWORKER_LOG_FORMAT": "xml"}, says: "IUWORKER_LOG_FORMAT"},
		{args: "status --json=perhaps", says: "--json is"},
		{args: "enqueue", says: "--template is missing"},
		{args: "enqueue --template t --priority 5", says: "from 1 to 4"},
		{args: "enqueue --template t --event-id 12", says: "it must be a UUID"},
		{args: "enqueue --template t --event-id 00000000-0000-0000-0000-000000000000", says: "it must be a UUID"},
		{args: "enqueue --template t --emit-mode loud", says: "it must be one of live, dry_run"},
		{args: "enqueue --template t --available-at tomorrow", says: "it must be a time such as 2026-12-31T18:00:00Z"},
		{args: "enqueue --template t --in 1d --available-at 2026-12-31T18:00:00Z", says: "--in and --available-at contradict each other"},
		{args: "enqueue --template t --suffix " + strings.Repeat("x", 201), says: "it has 201 characters"},
		{args: "scaleout --template t --prefix p --actor a", says: "--count is missing"},
		{args: "scaleout --count 1 --prefix p --actor a", says: "--template is missing"},
		{args: "scaleout --template t --count 1 --actor a", says: "--prefix is missing"},
		{args: "scaleout --template t --count 1 --prefix p", says: "--actor is missing"},
		{args: "scaleout --template t --count 0 --prefix p --actor a", says: "from 1 to 10000000"},
		{args: "scaleout --template t --count 10000001 --prefix p --actor a", says: "from 1 to 10000000"},
		{args: "scaleout --template t --count 1 --prefix p --actor a --rate 0", says: "--rate is \"0\": it must be a whole number from 1"},
		{args: "scaleout stauts p", says: `there is no command "scaleout stauts", did you mean status?`},
		{args: "scaleout status", says: "scaleout status needs the prefix of a scale-out"},
		{args: "scaleout cancel a b", says: "scaleout cancel takes one prefix, not 2"},
		{args: "scaleout cancel " + strings.Repeat("p", 192), says: "it has 192 characters"},
		{args: "scaleout start --template t --count 1 --prefix p", says: "--actor is missing"},
		{args: "scaleout pause p", says: "scaleout pause takes no argument: it is for all scale-outs at once; to stop one, run: iuworker scaleout cancel p"},
		{args: "subscribe --after 1 --consumer c", says: "--after and --consumer contradict each other"},
		{args: "subscribe --after soon", says: `--after is "soon"`},
		{args: "subscribe --after -1", says: "--after is"},
		{args: "subscribe --after 1 --since 2h", says: "--after and --since contradict each other"},
		{args: "subscribe --since 2h --from now", says: "--since and --from contradict each other"},
		{args: "subscribe --after 1 --from beginning", says: "--after and --from contradict each other"},
		{args: "subscribe --since soon", says: `--since is "soon": it must be a time such as`},
		{args: "subscribe --since 5", says: `--since is "5": it must be a time such as`},
		{args: "subscribe --from here", says: "it must be one of beginning, now"},
		{args: "subscribe --template=", says: `--template is "": it must not be blank`},
		{args: "subscribe --limit 0", says: "--limit is"},
		{args: "subscribe --consumer a/b c", says: "subscribe takes no argument"},
		{args: "rollback", says: "--actor is missing"},
		{args: "retry", says: "say which dead letters"},
		{args: "retry --drop", says: "say which dead letters"},
		{args: "retry --list --drop --all", says: "--list and --drop contradict each other"},
		{args: "retry --all --status cancelled", says: "--all contradicts --status and --event"},
		{args: "retry --event soon", says: "it must be a UUID"},
		{args: "trace", says: "trace needs an event id"},
		{args: "trace a b", says: "trace takes one id, key or suffix, not 2"},
		{args: "trace " + strings.Repeat("x", 301), says: "is not an id, key or suffix"},
		{args: "consumers rest", says: `there is no command "consumers rest", did you mean reset?`},
		{args: "settings all", says: `there is no command "settings all"`},
		{args: "settings set", says: "settings set needs a setting (notify-payload) and its value"},
		{args: "settings set notify-payload", says: "needs a setting"},
		{args: "settings set notify-payload cursor now", says: "not 3 arguments"},
		{args: "settings set notify cursor", says: `there is no setting "notify": use notify-payload`},
		{args: "settings set notify-payload off", says: `notify-payload cannot be "off": use event or cursor`},
		{args: "consumers reset", says: "consumers reset needs a consumer's name"},
		{args: "consumers reset mail", says: "--to is missing"},
		{args: "consumers reset mail --to soon", says: `--to is "soon": it must be beginning, now, a cursor`},
		{args: "consumers delete a b", says: "consumers delete takes one consumer, not 2"},
		{args: "consumers replay", says: "consumers replay needs a consumer's name"},
		{args: "consumers dead-letters \x01", says: "there is no consumer"},
		{args: "dev --tcp", says: "a database is given"},
		{args: "completion", says: "completion needs a shell"},
		{args: "completion csh", says: `there is no completion for "csh"`},
		{args: "version 1", says: "version takes no argument"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			env := environment{"IUWORKER_DATABASE_URL": nowhere}
			maps.Copy(env, test.env)
			r := run(t, env, strings.Fields(test.args)...).failed(t, exitUsage, test.says)
			require.Contains(t, r.errOut, "see: iuworker")
			require.Empty(t, r.out)
		})
	}
}

func TestOneOfTwoIsNoContradiction(t *testing.T) {
	t.Parallel()
	env := environment{"IUWORKER_DATABASE_URL": nowhere}
	run(t, env, "subscribe", "--after", "1").failed(t, exitFailed, "cannot connect")
	run(t, env, "subscribe", "--consumer", "c").failed(t, exitFailed, "cannot connect")
}

func TestHelpNamesEveryVariable(t *testing.T) {
	t.Parallel()
	a := &app{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		_, command, _ := strings.Cut(cmd.CommandPath(), " ")
		help := run(t, nil, append(strings.Fields(command), "--help")...).done(t).out
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			alone := pflag.NewFlagSet("", pflag.ContinueOnError)
			alone.AddFlag(f)
			require.LessOrEqual(t, strings.Count(alone.FlagUsages(), "(default "), 1, alone.FlagUsages())
			require.NotContains(t, alone.FlagUsages(), "[=true]", "%s --%s", cmd.CommandPath(), f.Name)
			if hasVariable(cmd, f) {
				require.Contains(t, help, "[$"+variable(f.Name)+"]", "%s --%s", cmd.CommandPath(), f.Name)
			} else {
				require.NotContains(t, help, "$"+variable(f.Name)+"]", "%s --%s", cmd.CommandPath(), f.Name)
			}
		})
		if cmd.HasParent() {
			require.NotContains(t, help, "  --database-url ", "global flags are in the help of the program")
			require.Contains(t, help, "\nGlobal flags: iuworker --help\n")
		}
		for line := range strings.SplitSeq(help, "\n") {
			require.LessOrEqual(t, strings.Count(line, "(default "), 1, line)
			require.LessOrEqual(t, len([]rune(line)), 122, line)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(a.rootCommand())
}

// Kubernetes sets IUWORKER_PORT and IUWORKER_SERVICE_HOST in the pods of a service of that name.
func TestNoFlagTakesAVariableOfKubernetes(t *testing.T) {
	t.Parallel()
	a := &app{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			require.NotRegexp(t, `^(port|service)(-|$)`, f.Name)
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(a.rootCommand())
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	require.Equal(t, run(t, nil, "--help").done(t).out, run(t, nil).done(t).out, "no arguments: the help")
	require.Regexp(t, `^iuworker \d+\.\d+\.\d+.*, schema \d+, go1`, run(t, nil, "version").done(t).out)
	require.Regexp(t, `^iuworker version \d+\.\d+\.\d+.*\n$`, run(t, nil, "--version").done(t).out)
	require.Contains(t, run(t, nil, "version", "--json").done(t).out, `"schema": `)
	require.Contains(t, run(t, nil, "help", "gate", "open").done(t).out, "iuworker gate open composer|auto-instantiate")
	require.Regexp(t, `Usage:\n  iuworker scaleout --template .*\n  iuworker scaleout COMMAND\n`, run(t, nil, "scaleout", "--help").done(t).out)
	require.Contains(t, run(t, nil, "scaleout", "start", "--help").done(t).out, "iuworker scaleout start --template")
	require.Regexp(t, `Usage:\n  iuworker consumers \[flags\]\n  iuworker consumers COMMAND\n`, run(t, nil, "consumers", "--help").done(t).out)
	for _, shell := range shells {
		require.Contains(t, run(t, nil, "completion", shell).done(t).out, "iuworker")
	}
	require.Contains(t, run(t, nil, "__complete", "gate", "open", "").out, "auto-instantiate")
	require.Contains(t, run(t, nil, "__complete", "enqueue", "--emit-mode", "").out, "dry_run")
	require.Contains(t, run(t, nil, "__complete", "status", "--log-level", "").out, "debug")
}
