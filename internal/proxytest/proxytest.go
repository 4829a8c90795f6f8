// Package proxytest runs real proxies, each for one test and until it ends: nginx and haproxy in front of a worker, and PgBouncer
// in front of a database. If the tests run as root, the proxies run as nobody. nginx and haproxy compress responses as far as
// their configuration allows.
package proxytest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
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

	"github.com/iu-core/iuworker/internal/iutest"
)

// Documented is the configuration in docs/deploy.md, with another address of the worker and another path of the file.
type Documented struct{ nginx, haproxy, retry string }

// Read returns the configuration in docs/deploy.md.
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

// Nginx starts nginx with the documented configuration in front of a worker, and returns its address.
func (d Documented) Nginx(t testing.TB, worker string) string {
	t.Helper()
	require.Contains(t, d.nginx, documentedWorker)
	return Nginx(t, strings.ReplaceAll(d.nginx, documentedWorker, worker))
}

// Haproxy starts haproxy with the documented configuration in front of a worker, and returns its address.
func (d Documented) Haproxy(t testing.TB, worker string) string {
	t.Helper()
	require.Contains(t, d.haproxy, documentedWorker)
	require.Contains(t, d.haproxy, documentedRetry)
	return haproxy(t, "use_backend iuworker_events if { path /v1/events }",
		strings.ReplaceAll(d.haproxy, documentedWorker, worker), map[string]string{documentedRetry: d.retry})
}

// DefaultNginx starts an nginx whose only setting is the worker's address.
func DefaultNginx(t testing.TB, worker string) string {
	t.Helper()
	return Nginx(t, "location / {\n    proxy_pass http://"+worker+";\n}\n")
}

// DefaultHaproxy starts a haproxy whose only setting is the worker's address.
func DefaultHaproxy(t testing.TB, worker string) string {
	t.Helper()
	return haproxy(t, "", "backend iuworker\n    timeout server 1m\n    server worker "+worker+"\n", nil)
}

// Nginx starts an nginx with these locations, and returns its address.
func Nginx(t testing.TB, locations string) string {
	t.Helper()
	dir, address := directory(t), FreeAddress(t)
	dir.write(t, "nginx.conf", `daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
    server {
        listen `+address+`;
`+locations+`
    }
}
`)
	dir.run(t, address, syscall.SIGTERM, "nginx", "-p", dir.path, "-e", "stderr", "-c", "nginx.conf")
	return address
}

func haproxy(t testing.TB, frontend, backends string, files map[string]string) string {
	t.Helper()
	dir, address := directory(t), FreeAddress(t)
	for name, text := range files {
		backends = strings.ReplaceAll(backends, name, filepath.Join(dir.path, filepath.Base(name)))
		dir.write(t, filepath.Base(name), text)
	}
	dir.write(t, "haproxy.cfg", `defaults
    mode http
    timeout connect 5s
    timeout client 1m
    compression algo gzip
    compression type text/html text/css text/plain text/event-stream application/json
frontend web
    bind `+address+`
    default_backend iuworker
    `+frontend+`
`+backends)
	dir.run(t, address, syscall.SIGTERM, "haproxy", "-db", "-f", filepath.Join(dir.path, "haproxy.cfg"))
	return address
}

// Bouncer starts a PgBouncer in pool mode session or transaction in front of a database, and returns the URL of the database. The
// login of that URL administers the PgBouncer, in its database pgbouncer.
func Bouncer(t testing.TB, db *iutest.DB, mode string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(db.Host())
	require.NoError(t, err)
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	dir, address := directory(t), FreeAddress(t)
	_, own, err := net.SplitHostPort(address)
	require.NoError(t, err)
	// With auth_type any, each login becomes the one in the database's line.
	dir.write(t, "pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
auth_file =
admin_users = %s
pool_mode = %s
default_pool_size = 40
max_client_conn = 200
logfile =
pidfile =
`, host, port, u.User.Username(), own, u.User.Username(), mode))
	dir.run(t, address, syscall.SIGKILL, "pgbouncer", "pgbouncer.ini") // another signal would wait for clients
	return db.URLAt(address)
}

// home is the directory of a proxy's files. The proxy's account can write to it.
type home struct {
	path    string
	account *syscall.Credential // nil: that of the tests
}

func directory(t testing.TB) home {
	t.Helper()
	path, err := os.MkdirTemp("", "iuworker-proxy-") //nolint:usetesting // nobody cannot enter a directory of root's tests
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

// run runs a proxy until the test ends, and waits until it listens. The signal end must make it close all connections and exit.
func (h home) run(t testing.TB, address string, end syscall.Signal, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name // Debian's directory, which is only in root's PATH
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)
	command.Dir = h.path
	command.SysProcAttr = &syscall.SysProcAttr{Credential: h.account}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start(), "install %s (Debian, as root: .ci/setup tests clients)", name)
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }() // its status is not part of the test
	t.Cleanup(func() {
		_ = command.Process.Signal(end) // fails if it has ended
		<-ended
		if t.Failed() {
			t.Logf("%s: %.10000s", name, output.String())
		}
	})
	timeout := time.After(time.Minute)
	for listens := false; !listens; {
		select {
		case <-ended:
			require.FailNow(t, name+" ended", output.String())
		case <-timeout:
			require.FailNow(t, name+" does not listen")
		case <-time.After(10 * time.Millisecond):
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			listens = err == nil && conn.Close() == nil
		}
	}
}

// FreeAddress returns a loopback address on which no program listens. Its port is below those that the system gives to others
// before the caller listens on it.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const first, ports, tries = 20_000, 12_000, 100
	for range tries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.N(ports))) //nolint:gosec // guards nothing
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err == nil {
			require.NoError(t, listener.Close())
			return address
		}
	}
	require.FailNow(t, "no free port")
	return ""
}
