package address

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// complete adds what a service, the environment and the defaults say, in libpq's order.
func (s settings) complete(getenv func(string) string) error {
	environment := settings{}
	for key, p := range parameters {
		for _, name := range p.variables {
			if value := getenv(name); value != "" {
				environment[key] = value
			}
		}
	}
	if getenv("PGREQUIRESSL") == "1" && environment["sslmode"] == "" {
		environment["sslmode"] = "require"
	}
	if name := first(s["service"], environment["service"]); name != "" {
		service, err := readService(name, serviceFiles(first(s["servicefile"], environment["servicefile"]), getenv))
		if err != nil {
			return err
		}
		service.under(s)
	}
	environment.under(s)
	defaults(getenv).under(s)
	return s.check()
}

// under adds to other what it does not have.
func (s settings) under(other settings) {
	added := maps.Clone(s)
	maps.Copy(added, other)
	maps.Copy(other, added)
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// defaults are the files in the home directory that libpq takes if they exist.
func defaults(getenv func(string) string) settings {
	found := settings{}
	home := getenv("HOME")
	if home == "" {
		return found
	}
	exists := func(name string) (string, bool) {
		path := filepath.Join(home, ".postgresql", name)
		_, err := os.Stat(path)
		return path, err == nil
	}
	cert, hasCert := exists("postgresql.crt")
	if key, ok := exists("postgresql.key"); ok && hasCert {
		found["sslcert"], found["sslkey"] = cert, key
	}
	if root, ok := exists("root.crt"); ok {
		found["sslrootcert"] = root
	}
	if crl, ok := exists("root.crl"); ok {
		found["sslcrl"] = crl
	}
	return found
}

func serviceFiles(given string, getenv func(string) string) (files []string) {
	if given != "" {
		return []string{given}
	}
	if home := getenv("HOME"); home != "" {
		files = append(files, filepath.Join(home, ".pg_service.conf"))
	}
	if dir := getenv("PGSYSCONFDIR"); dir != "" {
		files = append(files, filepath.Join(dir, "pg_service.conf"))
	}
	return append(files, "/etc/postgresql-common/pg_service.conf", "/etc/pg_service.conf")
}

// readService returns the parameters of a service: lines key=value below a line [name].
func readService(name string, files []string) (settings, error) {
	for i, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // the user names the file
		if errors.Is(err, fs.ErrNotExist) && (i > 0 || len(files) > 1) {
			continue
		}
		if err != nil {
			return nil, fileError("servicefile", err)
		}
		found, err := parseService(string(text), name)
		if err != nil {
			return nil, wrong("cannot be used: the servicefile %s: %v", file, err)
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, wrong("names a service that is not in %s", strings.Join(files, ", "))
}

func parseService(text, name string) (found settings, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.Trim(line, blanks)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			if found != nil {
				return found, nil
			}
			if line == "["+name+"]" {
				found = settings{}
			}
		case found == nil: // another service's
		default:
			key, value, ok := strings.Cut(line, "=")
			key = strings.Trim(key, blanks)
			if _, known := parameters[key]; !known || !ok || key == "service" || key == "servicefile" {
				return nil, fmt.Errorf("line %d is not key=value with a parameter of PostgreSQL", number)
			}
			if _, twice := found[key]; !twice { // the first counts, as for libpq
				found[key] = strings.Trim(value, blanks)
			}
		}
	}
	return found, nil
}

// fileError names a file that cannot be read.
func fileError(parameter string, err error) *Error {
	path, reason := "", err.Error()
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		path, reason = " "+p.Path, p.Err.Error()
	}
	return wrong("cannot be used: the %s%s: %s", parameter, path, reason)
}

// passwords are the lines of a passfile.
type passwords []passLine

type passLine struct{ host, port, database, user, password string }

// readPasswords reads a passfile. One that the address names must be there; the default one, and that of PGPASSFILE, need not.
func readPasswords(path string, named bool) (passwords, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // the user names the file
	if err != nil && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fileError("passfile", err)
	}
	var lines passwords
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		var fields [5]string
		rest, ok := line, true
		for i := range 4 {
			fields[i], rest, ok = passField(rest)
			if !ok {
				break
			}
		}
		if !ok {
			continue
		}
		fields[4] = unescaped(rest)
		lines = append(lines, passLine{fields[0], fields[1], fields[2], fields[3], fields[4]})
	}
	return lines, nil
}

// passField takes a field off a line, up to a colon that has no backslash before it.
func passField(line string) (field, rest string, ok bool) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case ':':
			return unescaped(line[:i]), line[i+1:], true
		}
	}
	return "", "", false
}

func unescaped(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// find returns the password of the first line that fits, "" if none does.
func (p passwords) find(host, port, database, user string) string {
	if isSocket(host) {
		host = "localhost"
	}
	fits := func(pattern, value string) bool { return pattern == "*" || pattern == value }
	for _, line := range p {
		if fits(line.host, host) && fits(line.port, port) && fits(line.database, database) && fits(line.user, user) {
			return line.password
		}
	}
	return ""
}
