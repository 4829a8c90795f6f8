package pgserver

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"time"
)

const (
	defaultStartTimeout = time.Minute
	defaultStopTimeout  = 10 * time.Second
)

// Config says which server to run, and how. Its zero value is a new server that only this user reaches.
type Config struct {
	// BinDir holds postgres and initdb. Default: found on the machine, else downloaded.
	BinDir string

	// DataDir is the data directory. One that is given is initialised where it is missing or empty, and
	// kept by Stop. Default: a new one, which Stop removes.
	DataDir string

	// TCP makes the server listen on a free port of 127.0.0.1, where every user of this machine may
	// connect as superuser. Default: false, a socket in a directory that is this user's alone.
	TCP bool

	// Settings are settings of postgresql.conf, as name and value. They win over our own, except for
	// where the server listens. Default: none.
	Settings map[string]string

	// StartTimeout bounds the wait until the server replies. Default: 1 minute.
	StartTimeout time.Duration

	// StopTimeout bounds the fast shutdown; an immediate one and SIGKILL follow. Default: 10 seconds.
	StopTimeout time.Duration

	// Logger hears what is found, started, cleaned up and stopped. Default: nothing is logged.
	Logger *slog.Logger

	// Set by tests only.
	download download // where binaries come from and go to
	orphan   bool     // the server outlives a killed program, as it does where the kernel does not help
}

func (c Config) withDefaults() Config {
	c.StartTimeout = cmp.Or(c.StartTimeout, defaultStartTimeout)
	c.StopTimeout = cmp.Or(c.StopTimeout, defaultStopTimeout)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// arguments makes postgres's command line. Settings travel here and not in postgresql.conf: the data
// directory belongs to the server's account, and root does not write into other accounts' directories.
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
