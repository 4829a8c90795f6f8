package jetstream_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// serverOfDebian is where Debian's package has the server, which is no program for users' PATH.
const serverOfDebian = "/usr/sbin/nats-server"

// A server that is not ours, and several years older.
func TestTheServerOfDebian(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("nats-server")
	if err != nil {
		program, err = exec.LookPath(serverOfDebian)
	}
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("there is no nats-server: install Debian's package, or run .ci/setup tests")
	}
	require.NoError(t, err, "CI has the server, by .ci/setup tests")

	b, broker := setup(t), prepare(t)
	broker.program = []string{program, "-c", broker.config}
	broker.start(t)
	p := b.publisher(t, broker.servers())
	r := p.start(t)
	b.announce(t, 500)
	b.published(t)
	broker.kill(t)
	copied := broker.copyStore(t)
	broker.start(t)
	b.announce(t, 200)
	b.published(t)
	broker.kill(t)
	broker.setBack(t, copied)
	broker.start(t)
	b.announce(t, 50)
	b.published(t)
	b.Exec(t, "UPDATE iu_outbox.consumer SET position = 3")
	b.announce(t, 50)
	b.published(t)
	b.requireEqual(t, broker.servers())
	require.NoError(t, r.stop())

	stream, err := jsContext(t, broker.servers()).Stream(t.Context(), b.stream())
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context()))
	p.start(t)
	b.announce(t, 5)
	b.published(t)
	require.Len(t, messages(t, broker.servers(), b.stream()), 5)
}
