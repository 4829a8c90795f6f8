package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

func TestFlagBeatsVariableBeatsDefault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		env  environment
		want string
	}{
		{name: "default", want: "20"},
		{name: "empty variable", env: environment{"IUWORKER_POOL_SIZE": ""}, want: "20"},
		{name: "variable", env: environment{"IUWORKER_POOL_SIZE": "7"}, want: "7"},
		{name: "flag", args: []string{"--pool-size", "9"}, env: environment{"IUWORKER_POOL_SIZE": "7"}, want: "9"},
		{name: "flag beside a wrong variable", args: []string{"--pool-size", "9"}, env: environment{"IUWORKER_POOL_SIZE": "x"}, want: "9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := defaultWorkFlags()
			cmd := &cobra.Command{Use: "work", RunE: func(cmd *cobra.Command, _ []string) error {
				return applyEnvironment(cmd, func(name string) string { return test.env[name] })
			}}
			takesSettings(cmd)
			f.register(cmd, ofWork)
			cmd.SetArgs(append([]string{}, test.args...))
			require.NoError(t, cmd.Execute())
			require.Equal(t, test.want, cmd.Flags().Lookup("pool-size").Value.String())
		})
	}
}

func TestWhereTheDatabaseIs(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	const wrong = nowhere
	for name, test := range map[string]struct {
		args []string
		env  environment
	}{
		"flag": {
			[]string{"--database-url", db.URL}, environment{"IUWORKER_DATABASE_URL": wrong, "DATABASE_URL": wrong},
		},
		"our variable":   {nil, environment{"IUWORKER_DATABASE_URL": db.URL, "DATABASE_URL": wrong}},
		"their variable": {nil, environment{"DATABASE_URL": db.URL}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, test.env, append([]string{"gate", "status"}, test.args...)...).done(t)
		})
	}
	run(t, environment{"IUWORKER_DATABASE_URL": wrong, "DATABASE_URL": db.URL}, "gate", "status").
		failed(t, exitFailed, "cannot connect to PostgreSQL at 127.0.0.1:1 as user nobody, database nothing: connect: connection refused")
}

func TestAddressesAreSettled(t *testing.T) {
	t.Parallel()
	a := &app{getenv: func(string) string { return "" }}
	a.database.pool.url = "postgres://ann@h/x?pool_max_conns=3"
	at, err := a.addresses(&cobra.Command{})
	require.NoError(t, err)
	require.Equal(t, "iuworker", at.pool.ConnConfig.RuntimeParams["application_name"])
	require.Equal(t, readyWithin, at.pool.ConnConfig.ConnectTimeout)
	at.size(20, false)
	require.EqualValues(t, 3, at.pool.MaxConns, "the address says it")
	at.size(20, true)
	require.EqualValues(t, 20, at.pool.MaxConns, "and a flag contradicts")

	a.database.pool.url = "postgres://ann@h/x?application_name=shop&connect_timeout=3"
	a.database.direct.url = "postgres://bob@g/x?pool_max_conns=3"
	at, err = a.addresses(&cobra.Command{})
	require.NoError(t, err)
	require.Equal(t, "shop", at.pool.ConnConfig.RuntimeParams["application_name"])
	require.Equal(t, "3s", at.pool.ConnConfig.ConnectTimeout.String())
	require.Equal(t, "bob", at.direct.User)
	require.NotContains(t, at.direct.RuntimeParams, "pool_max_conns")
	at.size(20, false)
	require.EqualValues(t, 20, at.pool.MaxConns)
}

// docs/configure.md names the commands whose flags have variables.
func TestDocumentedCommandsHaveVariables(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(fileOf(t, "docs/configure.md"), "Only settings have variables: the global flags, and the flags of ")
	text, _, _ = strings.Cut(text, ", which")
	var documented []string
	for _, name := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(text, -1) {
		documented = append(documented, name[1])
	}
	var have []string
	for _, cmd := range (&app{getenv: func(string) string { return "" }}).rootCommand().Commands() {
		if cmd.Annotations[isSettings] != "" {
			have = append(have, cmd.Name())
		}
	}
	require.ElementsMatch(t, have, documented)
}

func TestEveryCommandThatNeedsTheSchemaSaysHowToGetIt(t *testing.T) {
	t.Parallel()
	db := iutest.Empty(t)
	for _, args := range [][]string{
		{"gate", "status"}, {"gate", "open", "composer"}, {"rollback", "--actor", "a"}, {"retry", "--all"}, {"status"},
		{"trace", "x"}, {"consumers"}, {"consumers", "delete", "c"},
		{"enqueue", "--template", "t"}, {"scaleout", "--template", "t", "--count", "1", "--prefix", "p", "--actor", "a"},
		{"subscribe", "--limit", "1"}, {"work", "--http-addr", "off", "--log-level", "error"},
	} {
		run(t, on(db), args...).failed(t, exitFailed, "run: iuworker migrate up")
	}
}

func TestAnErrorNamesNoUserOrDatabaseThatNobodyKnows(t *testing.T) {
	t.Parallel()
	require.Equal(t, " as user ann, database shop", who("ann", "shop"))
	require.Equal(t, " as user ann", who("ann", ""))
	require.Equal(t, ", database shop", who("", "shop"))
	require.Empty(t, who("", ""))
}
