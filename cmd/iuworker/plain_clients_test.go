//go:build clients

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// The client for Node in docs/subscribers.md misses no event: neither those announced before it started, nor those announced while
// its connection was cut.
func TestTheNodeClientMissesNothing(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	announce(t, db, template, "1", "2", "3")

	dir := installClients(t)
	shown := blocksFor(t, "TestTheNodeClientMissesNothing")
	require.Len(t, shown, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "follow.mjs"), []byte(shown[0].text), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.mjs"), []byte(`
		import { follow } from './follow.mjs'
		console.log(JSON.stringify({ ended: await follow(process.argv[2], (event) => console.log(JSON.stringify(event))) }))`), 0o600))
	var epoch string
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT epoch FROM iu_outbox.emission_counter").Scan(&epoch))
	server, err := url.Parse(db.URL)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	node := exec.CommandContext(ctx, "node", "main.mjs", epoch+"-0")
	node.Dir = dir
	node.Env = append(os.Environ(), "PGHOST="+server.Hostname(), "PGPORT="+server.Port(),
		"PGUSER="+server.User.Username(), "PGDATABASE="+db.Name, "PGAPPNAME=node")
	out, errOut := newBuffer(), newBuffer()
	node.Stdout, node.Stderr = out, errOut
	require.NoError(t, node.Start())
	defer func() { stop(); _ = node.Wait() }() // stop kills it

	out.await(t, `"position":3`)
	for round := range 3 {
		if round == 1 { // from now on, notifications carry only the cursor
			run(t, on(db), "settings", "set", "notify-payload", "cursor").done(t)
		}
		db.WaitFor(t, patience, `SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'node'`)
		announce(t, db, template, fmt.Sprintf("cut-%d", round))
		db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'node')")
		announce(t, db, template, fmt.Sprintf("live-%d", round))
		out.await(t, fmt.Sprintf(`"position":%d`, 5+2*round))
	}
	next := 1
	for line := range strings.Lines(out.String()) {
		var event struct{ Position int }
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		require.Equal(t, next, event.Position, "in order, and each once: %s", errOut)
		next++
	}
	require.Equal(t, 10, next)
}

// A plain psql that listens is notified.
func TestPsqlListens(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	template := db.Template(t, "letter", 1)
	psql := exec.CommandContext(t.Context(), "psql", "-X", "-d", db.URL)
	input, err := psql.StdinPipe()
	require.NoError(t, err)
	out := newBuffer()
	psql.Stdout, psql.Stderr = out, out
	require.NoError(t, psql.Start())
	say := func(text string) {
		_, err := input.Write([]byte(text + "\n"))
		require.NoError(t, err)
	}
	say(`LISTEN "iu.template.instance_auto_composed";`)
	out.await(t, "LISTEN")
	announce(t, db, template, "a")
	say("SELECT 'asked';") // psql shows notifications only after a command
	out.await(t, `Asynchronous notification "iu.template.instance_auto_composed" with payload`)
	require.Contains(t, out.String(), `"subject": "tpl-inst:auto:a"`)
	run(t, on(db), "settings", "set", "notify-payload", "cursor").done(t)
	announce(t, db, template, "b")
	say("SELECT 'asked';")
	out.await(t, `with payload "{"cursor": "`)
	require.NotContains(t, out.String(), "tpl-inst:auto:b")
	require.NoError(t, input.Close())
	require.NoError(t, psql.Wait())
}
