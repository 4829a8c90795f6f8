package address

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// host is one of the servers in an address.
type host struct {
	name      string   // a DNS name, an IP address or a directory of sockets; "" only if addresses has one
	addresses []string // from hostaddr
	port      uint16
	password  string
}

// dialed returns what is resolved and dialed.
func (h host) dialed() string {
	if h.name == "" {
		return h.addresses[0]
	}
	return h.name
}

// plan is an address and the files that it names, as they were at one moment.
type plan struct {
	hosts          []host
	user, database string
	timeout        time.Duration // 0: none was given
	random         bool          // load_balance_hosts
	peer           string        // requirepeer
	security       *security
	settings       settings
}

// plan checks complete settings and reads the files that they name.
func (s settings) plan(passfileNamed bool) (*plan, error) {
	p := &plan{settings: s, random: s["load_balance_hosts"] == "random", peer: s["requirepeer"]}
	if p.peer != "" && !peersKnown {
		return nil, wrong("cannot be used: requirepeer is not supported on this system")
	}
	p.timeout = time.Duration(p.number("connect_timeout", 0)) * time.Second
	if err := p.list(s); err != nil {
		return nil, err
	}
	var err error
	if p.security, err = s.security(); err != nil {
		return nil, err
	}
	for _, h := range p.hosts {
		if p.security.verifyName && h.name == "" {
			return nil, wrong("cannot be used: sslmode=verify-full needs host as well as hostaddr: the name to check in the certificate")
		}
	}
	p.user, p.database = s["user"], s["dbname"] // without a database, the server uses the user's name
	if u, err := user.Current(); err == nil && p.user == "" {
		p.user = u.Username
	}
	var lines passwords
	if s["password"] == "" {
		if lines, err = readPasswords(s["passfile"], passfileNamed); err != nil {
			return nil, err
		}
	}
	for i := range p.hosts {
		h := &p.hosts[i]
		h.password = cmp.Or(s["password"], lines.find(h.dialed(), strconv.Itoa(int(h.port)), cmp.Or(p.database, p.user), p.user))
	}
	return p, nil
}

// list sets the hosts.
func (p *plan) list(s settings) error {
	names, addresses, ports := strings.Split(s["host"], ","), strings.Split(s["hostaddr"], ","), strings.Split(s["port"], ",")
	n := len(names)
	if s["hostaddr"] != "" {
		if n = len(addresses); s["host"] != "" && n != len(names) {
			return wrong("cannot be used: it has %d hosts and %d in hostaddr", len(names), n)
		}
	}
	if len(ports) > 1 && len(ports) != n {
		return wrong("cannot be used: it has %d hosts and %d ports", n, len(ports))
	}
	for i := range n {
		h := host{port: defaultPort}
		if i < len(names) {
			h.name = strings.Trim(names[i], " ")
		}
		if i < len(addresses) && addresses[i] != "" {
			ip, err := netip.ParseAddr(addresses[i])
			if err != nil {
				return wrong("cannot be used: hostaddr must be an IP address")
			}
			if h.addresses = []string{ip.String()}; isSocket(h.name) {
				h.name = ""
			}
		} else if h.name == "" {
			h.name = defaultHost()
		}
		if !isHost(h.name) {
			return wrong("cannot be used: host must be a name, an IP address or a directory of sockets")
		}
		if text := strings.Trim(ports[min(i, len(ports)-1)], " "); text != "" {
			port, err := strconv.ParseUint(text, 10, 16)
			if err != nil || port == 0 {
				return wrong("cannot be used: port must be a number from 1 to 65535 (percent-encode special characters of user and password)")
			}
			h.port = uint16(port)
		}
		p.hosts = append(p.hosts, h)
	}
	return nil
}

const defaultPort = 5432

// isSocket reports whether a host is a directory of sockets, or the name of an abstract one.
func isSocket(name string) bool { return strings.HasPrefix(name, "/") || strings.HasPrefix(name, "@") }

// isHost reports whether a text can be a host, so that no part of a mistyped address is sent to a resolver.
func isHost(name string) bool {
	if isSocket(name) || name == "" {
		return !strings.ContainsFunc(name, unicode.IsControl) && !strings.Contains(name[min(1, len(name)):], "@")
	}
	if strings.Contains(name, ":") {
		_, err := netip.ParseAddr(name)
		return err == nil
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// defaultHost returns the directory of sockets that exists, as libpq does.
func defaultHost() string {
	for _, dir := range []string{"/var/run/postgresql", "/private/tmp", "/tmp"} {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return "localhost"
}

// options returns the parameters that are sent to the server besides user and database.
func (p *plan) options() map[string]string {
	sent := map[string]string{"application_name": cmp.Or(p.settings["application_name"], p.settings["fallback_application_name"], "iuworker")}
	if options := p.settings["options"]; options != "" {
		sent["options"] = options
	}
	return sent
}

func (p *plan) number(key string, otherwise int) int {
	if n, err := strconv.Atoi(strings.Trim(p.settings[key], blanks)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// dialer returns a dialer whose connections notice a dead peer within about 15 s, unless the address says otherwise.
func (p *plan) dialer() *net.Dialer {
	keepalive := net.KeepAliveConfig{
		Enable:   p.settings["keepalives"] != "0",
		Idle:     time.Duration(p.number("keepalives_idle", 5)) * time.Second,
		Interval: time.Duration(p.number("keepalives_interval", 3)) * time.Second,
		Count:    p.number("keepalives_count", 3),
	}
	dialer := &net.Dialer{KeepAliveConfig: keepalive}
	if !keepalive.Enable {
		dialer.KeepAlive = -1
	}
	if limit := p.number("tcp_user_timeout", 0); limit > 0 {
		dialer.Control = userTimeout(limit)
	}
	return dialer
}

func (h host) String() string {
	if isSocket(h.name) {
		return fmt.Sprintf("%s/.s.PGSQL.%d", h.name, h.port)
	}
	return net.JoinHostPort(h.dialed(), strconv.Itoa(int(h.port)))
}
