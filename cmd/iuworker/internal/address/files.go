package address

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// complete adds the values of the service, the environment and the defaults in libpq's order, and checks the result.
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
	if name := cmp.Or(s["service"], environment["service"]); name != "" {
		service, err := readService(name, serviceFiles(cmp.Or(s["servicefile"], environment["servicefile"]), getenv))
		if err != nil {
			return err
		}
		s.add(service)
	}
	s.add(environment)
	s.add(defaults(getenv("HOME")))
	return s.check()
}

// add adds the parameters of other that s lacks.
func (s settings) add(other settings) {
	for key, value := range other {
		if _, found := s[key]; !found {
			s[key] = value
		}
	}
}

// defaults returns the files in the home directory about TLS that libpq uses if they exist.
func defaults(home string) settings {
	found := settings{}
	if home == "" {
		return found
	}
	for key, name := range map[string]string{
		"sslcert": "postgresql.crt", "sslkey": "postgresql.key", "sslrootcert": "root.crt", "sslcrl": "root.crl",
	} {
		path := filepath.Join(home, ".postgresql", name)
		if _, err := os.Stat(path); err == nil {
			found[key] = path
		}
	}
	if found["sslcert"] == "" || found["sslkey"] == "" {
		delete(found, "sslcert")
		delete(found, "sslkey")
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

// readService returns the parameters of a service: the lines key=value below the line [name].
func readService(name string, files []string) (settings, error) {
	for _, file := range files {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && len(files) > 1 {
			continue
		}
		text, err := readFile("servicefile", file)
		if err != nil {
			return nil, err
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
		case found == nil: // the line is another service's
		default:
			key, value, ok := strings.Cut(line, "=")
			key = strings.Trim(key, blanks)
			if _, known := parameters[key]; !known || !ok || key == "service" || key == "servicefile" {
				return nil, fmt.Errorf("line %d is not key=value with a parameter of PostgreSQL", number)
			}
			if _, twice := found[key]; !twice { // the first one counts, as in libpq
				found[key] = strings.Trim(value, blanks)
			}
		}
	}
	return found, nil
}

const maxFile = 1 << 26 // bytes that are read of a file

// readFile reads a file that a parameter names.
func readFile(parameter, path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fileError(parameter, err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fileError(parameter, err)
	}
	return text, nil
}

// fileError returns the error for a file that cannot be read.
func fileError(parameter string, err error) *Error {
	path, reason := "", err.Error()
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		path, reason = " "+p.Path, p.Err.Error()
	}
	return wrong("cannot be used: the %s%s: %s", parameter, path, reason)
}

// passwords are the lines of a passfile: host, port, database, user and password.
type passwords [][]string

var keptCharacter = regexp.MustCompile(`\\(.)`)

// passLine matches four fields that end at a colon without a backslash, and the password.
var passLine = regexp.MustCompile(`^` + strings.Repeat(`((?:\\.|[^:\\])*):`, 4) + `(.*)`)

// readPasswords reads a passfile. One that the address names must exist; the default one and that of PGPASSFILE need not.
func readPasswords(path string, named bool) (lines passwords, err error) {
	if path == "" {
		return nil, nil
	}
	text, err := readFile("passfile", path)
	if err != nil && named {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := passLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if fields == nil || line[0] == '#' {
			continue
		}
		for i, field := range fields {
			fields[i] = keptCharacter.ReplaceAllString(field, "$1")
		}
		lines = append(lines, fields[1:])
	}
	return lines, nil
}

// find returns the password of the first line that matches, or "".
func (p passwords) find(host, port, database, user string) string {
	if isSocket(host) {
		host = "localhost"
	}
	asked := []string{host, port, database, user}
	for _, fields := range p {
		if slices.EqualFunc(fields[:4], asked, func(pattern, value string) bool { return pattern == "*" || pattern == value }) {
			return fields[4]
		}
	}
	return ""
}
