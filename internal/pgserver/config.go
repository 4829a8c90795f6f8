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

	// Only tests set these.
	download download // where binaries come from and go to
	orphan   bool     // the server outlives a killed program, as on systems other than Linux
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
