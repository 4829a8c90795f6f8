package address

import (
	"errors"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// Failure says why the connection to one host failed.
type Failure struct {
	Host string // host:port, or the socket
	Err  error
}

// Failures returns the hosts that were tried, in that order, each with its most telling error.
func Failures(err *pgconn.ConnectError) (failures []Failure) {
	add := func(host string, err error) {
		for i, f := range failures {
			if f.Host != host {
				continue
			}
			_, told := errors.AsType[*pgconn.PgError](f.Err)
			if _, tells := errors.AsType[*pgconn.PgError](err); tells && !told {
				failures[i].Err = err // a server's reply says more than another error
			}
			return
		}
		failures = append(failures, Failure{host, err})
	}
	causes := flatten(err.Unwrap())
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

// flatten returns the errors that were joined in err.
func flatten(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}
