package main

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/internal/iutest"
)

// composeFile is what the test reads of the file; deploy/check knows all of its fields.
type composeFile struct {
	Services map[string]struct {
		Command         []string
		Environment     environment
		StopGracePeriod string `yaml:"stop_grace_period"`
	}
	Configs map[string]struct{ Content string }
}

// readCompose reads the file with the variables of example.env.
func readCompose(t testing.TB) (file composeFile) {
	t.Helper()
	variables := environment{}
	for _, found := range regexp.MustCompile(`(?m)^(\w+)=(.+)$`).FindAllStringSubmatch(fileOf(t, "deploy/compose/example.env"), -1) {
		variables[found[1]] = found[2]
	}
	require.NotEmpty(t, variables)
	text := os.Expand(fileOf(t, "deploy/compose/compose.yaml"), func(name string) string {
		name, _, _ = strings.Cut(name, ":?")
		require.Contains(t, variables, name)
		return variables[name]
	})
	require.NoError(t, yaml.Unmarshal([]byte(text), &file))
	return file
}

// What the Compose file starts works on a server of its own, in its order: logins, migration, worker.
func TestComposeFileWorks(t *testing.T) {
	t.Parallel()
	file := readCompose(t)
	db, _ := iutest.Own(t)
	at := func(service string) environment {
		env := file.Services[service].Environment
		requireCommand(t, env, file.Services[service].Command...)
		given, err := url.Parse(env["IUWORKER_DATABASE_URL"])
		require.NoError(t, err)
		require.Equal(t, "postgres", given.Host, "the name of the service")
		here, err := url.Parse(db.URL)
		require.NoError(t, err)
		here.User, here.Path = given.User, "/iuworker"
		env["IUWORKER_DATABASE_URL"] = here.String()
		return env
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db.Exec(t, "ALTER ROLE iu_worker RENAME TO worker_of_tests") // a new server has neither
	db.Exec(t, "ALTER ROLE iu_operator RENAME TO operator_of_tests")
	migrate := at("migrate")
	conn, err := pgx.Connect(ctx, db.URL)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	for _, statement := range []string{"CREATE DATABASE iuworker", file.Configs["logins"].Content} {
		_, err = conn.Exec(ctx, statement)
		require.NoError(t, err)
	}
	migrated := run(t, migrate, file.Services["migrate"].Command...)
	require.Equal(t, exitDone, migrated.code, migrated.errOut)

	env := at("work")
	require.Equal(t, ":8080", env["IUWORKER_HTTP_ADDR"])
	env["IUWORKER_HTTP_ADDR"] = ":0" // the tests share this machine
	run(t, env, "gate", "open", "composer").done(t)
	working, stop := context.WithCancel(ctx)
	log, ended := newBuffer(), make(chan int, 1)
	go func() {
		ended <- Run(working, file.Services["work"].Command, func(name string) string { return env[name] }, newBuffer(), log)
	}()
	log.await(t, `"Worker: ready"`)
	stop()
	require.Equal(t, exitDone, <-ended)
	grace, err := time.ParseDuration(file.Services["work"].StopGracePeriod)
	require.NoError(t, err)
	require.GreaterOrEqual(t, grace, stopsWithin())
}
