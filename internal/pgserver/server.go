package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Config says which server to run and how. Its zero value is a new server that only this user can reach.
type Config struct {
	// BinDir holds postgres and initdb. Default: found on the machine, else downloaded.
	BinDir string

	// DataDir is the data directory. A given one is initialised if it is missing or empty, and Stop keeps it. Default: a new
	// one, which Stop removes.
	DataDir string

	// TCP makes the server listen on a free port of 127.0.0.1, to which every user of this machine can connect as superuser.
	// Default: false, a socket in a directory that only this user can enter.
	TCP bool

	// Settings are settings of postgresql.conf by name. They override ours, except where the server listens. Default: none.
	Settings map[string]string

	// StartTimeout bounds the wait until the server replies. Default: 1 minute.
	StartTimeout time.Duration

	// StopTimeout bounds the fast shutdown; an immediate one and SIGKILL follow. Default: 10 seconds.
	StopTimeout time.Duration

	// Logger logs what is found, started, cleaned up and stopped. Default: nothing is logged.
	Logger *slog.Logger

	// Only tests set these two.
	download download // where binaries come from and go to
	orphan   bool     // the server outlives a killed program, as on systems other than Linux

	primary *Server // what a standby copies and follows; set by Standby
}

func (c Config) withDefaults() Config {
	c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
	c.StopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// arguments returns postgres's arguments. They hold the settings, not postgresql.conf: the data directory belongs to the server's
// account, and root must not write to it.
func (c Config) arguments(dataDir, socketDir string, port int) ([]string, error) {
	settings := map[string]string{
		"cluster_name":         "iuworker",
		"log_destination":      "stderr",
		"log_line_prefix":      "%m [%p] ",
		"log_timezone":         "UTC",
		"timezone":             "UTC",
		"update_process_title": "on",
	}
	maps.Copy(settings, c.Settings)
	settings["logging_collector"] = "off" // the log's tail goes into our errors
	settings["port"] = fmt.Sprint(port)
	settings["listen_addresses"] = ""
	settings["unix_socket_directories"] = socketDir
	if c.TCP {
		settings["listen_addresses"], settings["unix_socket_directories"] = loopback, ""
	}

	arguments := []string{"-D", dataDir}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !settingName.MatchString(name) {
			return nil, fmt.Errorf("setting %q is no name of a PostgreSQL setting", name)
		}
		arguments = append(arguments, "-c", name+"="+settings[name])
	}
	return arguments, nil
}

const superuser = "postgres"

// Server is a running PostgreSQL. It is safe for concurrent use.
type Server struct {
	cfg    Config
	as     *account
	binDir string
	dir    *directory
	log    *os.File // opened before the directory was given to the server's account
	port   int

	mu      sync.Mutex
	process *process
	stopped bool
}

// Start starts a server and waits until it replies. ctx bounds only the start: the server runs until Stop, or until the program
// ends. If Start fails, it leaves nothing behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	base, err := baseDirectory(as)
	if err != nil {
		return nil, err
	}
	if err := cleanStale(ctx, base, cfg.Logger); err != nil {
		cfg.Logger.WarnContext(ctx, "Postgres: cannot remove all leftovers of killed programs", slog.Any("error", err))
	}
	binDir, err := findBinaries(ctx, cfg, as)
	if err != nil {
		return nil, err
	}
	dir, err := claim(ctx, base)
	if err != nil {
		return nil, err
	}

	log, err := os.OpenFile(filepath.Join(dir.path, "server.log"), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create the server's log: %w", err), dir.remove())
	}
	s := &Server{cfg: cfg, as: as, binDir: binDir, dir: dir, log: log}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	cfg.Logger.InfoContext(ctx, "Postgres: started", "bin", binDir, "directory", dir.path, "url", s.URL(superuser))
	return s, nil
}

// URL returns the superuser's URL of a database. It needs no password.
func (s *Server) URL(database string) string {
	query := url.Values{"sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database}
	if s.cfg.TCP {
		u.Host = net.JoinHostPort(loopback, strconv.Itoa(s.port))
	} else {
		query.Set("host", s.dir.path)
		query.Set("port", strconv.Itoa(s.port))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// BinDir returns the directory of the server's binaries.
func (s *Server) BinDir() string { return s.binDir }

// Restart stops the server if it runs, and starts it again at the same address. ctx bounds the new start.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("restart PostgreSQL: it was stopped permanently")
	}
	s.process.stop(syscall.SIGINT, s.cfg.StopTimeout)
	return s.launch(ctx)
}

// Kill ends the server as a crash would, without a checkpoint. Restart recovers it.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.stop(syscall.SIGQUIT, killGrace)
}

// KillHard kills the server's main process, and leaves it to the others to notice. Restart recovers the server once they have
// ended, and fails until then.
func (s *Server) KillHard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.stop(syscall.SIGKILL, killGrace)
}

// CopyLog copies the server's log. Call it before Stop, which removes the log.
func (s *Server) CopyLog(to io.Writer) error {
	info, err := s.log.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(s.log, 0, info.Size()))
	return err
}

// Stop ends the server and removes its private directory, and a standby's slot on its primary. A second call does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	if s.process != nil {
		s.process.stop(syscall.SIGINT, s.cfg.StopTimeout)
	}
	if s.cfg.primary != nil {
		s.dropSlot()
	}
	return errors.Join(s.log.Close(), s.dir.remove())
}

// bringUp prepares the private directory and starts the server in it.
func (s *Server) bringUp(ctx context.Context) error {
	if s.cfg.primary != nil {
		if err := s.copyPrimary(ctx); err != nil {
			return err
		}
	}
	if err := s.linkData(); err != nil {
		return err
	}
	if err := s.as.own(s.dir.path); err != nil {
		return err
	}
	if err := s.initialise(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launchOnFreePort(ctx)
}
