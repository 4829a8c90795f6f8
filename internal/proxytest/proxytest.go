// Package proxytest runs real nginx and haproxy in front of a test's worker, each as an instance of the test's own that
// ends with it: its configuration, files and port are its own, and root runs it as nobody. Both compress what they may.
package proxytest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second // for a proxy to start

// Documented is the configuration of docs/deploy.md, letter by letter but for the worker's address and the file's place.
type Documented struct{ nginx, haproxy, retry string }

// Read reads the configuration out of the document.
func Read(t testing.TB, path string) Documented {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // a document of this repository
	require.NoError(t, err)
	blocks := map[string]string{}
	parts := strings.Split(string(text), "```")
	for i := 1; i < len(parts); i += 2 {
		info, block, _ := strings.Cut(parts[i], "\n")
		if language, _, _ := strings.Cut(info, " "); language == "nginx" || language == "haproxy" || language == "http" {
			require.NotContains(t, blocks, language, "%s has one block of each language", path)
			blocks[language] = block
		}
	}
	require.Len(t, blocks, 3, "%s has a block for nginx, for haproxy and for the file that haproxy sends", path)
	return Documented{blocks["nginx"], blocks["haproxy"], strings.ReplaceAll(blocks["http"], "\n", "\r\n")}
}

const (
	documentedWorker = "127.0.0.1:8080"
	documentedRetry  = "/etc/haproxy/retry.http"
)

// Nginx starts nginx as documented in front of a worker's address, and returns its own.
func (d Documented) Nginx(t testing.TB, worker string) string {
	t.Helper()
	require.Contains(t, d.nginx, documentedWorker)
	return Nginx(t, strings.ReplaceAll(d.nginx, documentedWorker, worker))
}

// Haproxy starts haproxy as documented in front of a worker's address, and returns its own.
func (d Documented) Haproxy(t testing.TB, worker string) string {
	t.Helper()
	require.Contains(t, d.haproxy, documentedWorker)
	require.Contains(t, d.haproxy, documentedRetry)
	return haproxy(t, "use_backend iuworker_events if { path /v1/events }",
		strings.ReplaceAll(d.haproxy, documentedWorker, worker), map[string]string{documentedRetry: d.retry})
}

// DefaultNginx starts an nginx that is told nothing but where the worker is.
func DefaultNginx(t testing.TB, worker string) string {
	t.Helper()
	return Nginx(t, "location / {\n    proxy_pass http://"+worker+";\n}\n")
}

// DefaultHaproxy starts a haproxy that is told nothing but where the worker is.
func DefaultHaproxy(t testing.TB, worker string) string {
	t.Helper()
	return haproxy(t, "", "backend iuworker\n    timeout server 1m\n    server worker "+worker+"\n", nil)
}

// Nginx starts an nginx with these locations, and returns its address.
func Nginx(t testing.TB, locations string) string {
	t.Helper()
	dir, address := directory(t), FreeAddress(t)
	config := `daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
    server {
        listen ` + address + `;
` + locations + `
    }
}
`
	dir.write(t, "nginx.conf", config)
	dir.run(t, address, "nginx", "-p", dir.path, "-e", "stderr", "-c", "nginx.conf")
	return address
}

func haproxy(t testing.TB, frontend, backends string, files map[string]string) string {
	t.Helper()
	dir, address := directory(t), FreeAddress(t)
	for name, text := range files {
		backends = strings.ReplaceAll(backends, name, filepath.Join(dir.path, filepath.Base(name)))
		dir.write(t, filepath.Base(name), text)
	}
	config := `defaults
    mode http
    timeout connect 5s
    timeout client 1m
    compression algo gzip
    compression type text/html text/css text/plain text/event-stream application/json
frontend web
    bind ` + address + `
    default_backend iuworker
    ` + frontend + `
` + backends
	dir.write(t, "haproxy.cfg", config)
	dir.run(t, address, "haproxy", "-db", "-f", filepath.Join(dir.path, "haproxy.cfg"))
	return address
}

// home is where a proxy has its files; its account can write there.
type home struct {
	path    string
	account *syscall.Credential // nil: the tests' own
}

func directory(t testing.TB) home {
	t.Helper()
	path, err := os.MkdirTemp("", "iuworker-proxy-") //nolint:usetesting // nobody may not enter a directory of root's tests
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(path)) })
	if os.Getuid() != 0 {
		return home{path: path}
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	require.NoError(t, err)
	require.NoError(t, os.Chown(path, int(uid), int(gid))) //nolint:gosec // 32 bits
	return home{path, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (h home) write(t testing.TB, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(h.path, name), []byte(text), 0o644)) //nolint:gosec // for nobody to read
}

// run runs a proxy until the test ends, and waits until it listens.
func (h home) run(t testing.TB, address, name string, args ...string) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), program(t, name), args...)
	command.Dir = h.path
	command.SysProcAttr = &syscall.SysProcAttr{Credential: h.account}
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	require.NoError(t, command.Start())
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }() // how it ends says nothing of the test
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // both end at once, with all connections; it may have ended
		<-ended
		if t.Failed() {
			t.Logf("%s: %.10000s", name, said.String())
		}
	})
	until := time.Now().Add(patience)
	for {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			require.NoError(t, conn.Close())
			return
		}
		select {
		case <-ended:
			require.FailNow(t, name+" ended", said.String())
		case <-time.After(10 * time.Millisecond):
		}
		require.True(t, time.Now().Before(until), "%s does not listen: %v", name, err)
	}
}

// program finds a proxy, also where only root looks.
func program(t testing.TB, name string) string {
	t.Helper()
	for _, at := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(at); err == nil {
			return path
		}
	}
	require.FailNow(t, "no "+name, "install it (Debian, as root: .ci/setup clients)")
	return ""
}

// FreeAddress returns a loopback address that nobody listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // nobody connected
	return listener.Addr().String()
}
