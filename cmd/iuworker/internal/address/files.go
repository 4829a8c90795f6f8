package address

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// complete adds values from a service, the environment and the defaults, in libpq's order, and checks the result.
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
		service.under(s)
	}
	environment.under(s)
	defaults(getenv).under(s)
	return s.check()
}

// under adds to other the parameters that it lacks.
func (s settings) under(other settings) {
	added := maps.Clone(s)
	maps.Copy(added, other)
	maps.Copy(other, added)
}

// defaults returns the files in the home directory that libpq uses if they exist.
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

// readService returns the parameters of a service: the lines key=value below the line [name].
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

// readPasswords reads a passfile. One that the address names must exist; the default one, and that of PGPASSFILE, need not.
func readPasswords(path string, named bool) (lines passwords, err error) {
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
	for line := range strings.Lines(string(text)) {
		if fields := passFields(strings.TrimRight(line, "\r\n")); len(fields) == 5 && line[0] != '#' {
			lines = append(lines, fields)
		}
	}
	return lines, nil
}

// passFields splits a line at the first four colons that have no backslash before them, and removes the backslashes.
func passFields(line string) []string {
	var fields []string
	var field strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] == ':' && len(fields) < 4 {
			fields = append(fields, field.String())
			field.Reset()
			continue
		}
		if line[i] == '\\' && i+1 < len(line) {
			i++
		}
		field.WriteByte(line[i])
	}
	return append(fields, field.String())
}

// find returns the password of the first line that matches; "" if none does.
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
