package address

import (
	"errors"
	"net"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// Failure says why the connection to one host failed.
type Failure struct {
	Host string // host:port, or the socket
	Err  error
}

// Failures returns the hosts in the order in which they were tried, each with its most informative error.
func Failures(err *pgconn.ConnectError) (failures []Failure) {
	add := func(host string, err error) {
		i := slices.IndexFunc(failures, func(f Failure) bool { return f.Host == host })
		if i < 0 {
			failures = append(failures, Failure{host, err})
			return
		}
		_, before := errors.AsType[*pgconn.PgError](failures[i].Err)
		if _, now := errors.AsType[*pgconn.PgError](err); now && !before {
			failures[i].Err = err // a server's reply says more than another error
		}
	}
	causes := []error{err.Unwrap()}
	var joined interface{ Unwrap() []error }
	if errors.As(causes[0], &joined) {
		causes = joined.Unwrap()
	}
	unknown := map[string]int{}
	for len(causes) > 0 {
		lookup, ok := errors.AsType[*hostError](causes[0])
		if !ok {
			break
		}
		unknown[lookup.host]++
		add(lookup.host, lookup.err)
		causes = causes[1:]
	}
	hosts := append([]*pgconn.FallbackConfig{{Host: err.Config.Host, Port: err.Config.Port}}, err.Config.Fallbacks...)
	for _, h := range hosts {
		name := net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
		if isSocket(h.Host) {
			name = host{name: h.Host, port: h.Port}.String()
		}
		if unknown[name] > 0 {
			unknown[name]--
			continue
		}
		if len(causes) == 0 {
			break
		}
		add(name, causes[0])
		causes = causes[1:]
	}
	return failures
}
