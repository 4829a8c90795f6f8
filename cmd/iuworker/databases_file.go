package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
)

// databaseLine is a database of the file of --databases.
type databaseLine struct {
	name   string
	pool   location
	direct location // the line NAME.direct; its line is 0 if there is none
}

// location is where the address of a database comes from.
type location struct {
	line int
	text string // the address; "" if a file holds it
	file string
}

const (
	directSuffix     = ".direct" // of the name of a second line: what --direct-database-url is for one database
	fileScheme       = "file:"
	maxDatabasesFile = 1 << 20 // bytes
)

var databaseNameForm = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// checkDatabaseName returns an error if a text cannot name a database in paths, metrics and logs.
func checkDatabaseName(name string) error {
	if !databaseNameForm.MatchString(name) {
		return errors.New("it must be 1 to 63 lower-case letters, digits, hyphens or underscores")
	}
	return nil
}

// readDatabases reads the file: a line has a name and an address, or a name and file:PATH of a file that holds the address.
func readDatabases(path string) ([]databaseLine, error) {
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("cannot read --databases: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxDatabasesFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read --databases: %w", err)
	}
	entries, err := parseDatabases(string(text))
	if err != nil {
		return nil, fmt.Errorf("the file %s of --databases: %w", path, err)
	}
	return entries, nil
}

// parseDatabases parses the lines of the file. An error names the line, and repeats nothing of its address.
func parseDatabases(text string) ([]databaseLine, error) {
	byName := map[string]*databaseLine{}
	var order []*databaseLine
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, at, direct, err := parseLine(line, number)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		e := byName[name]
		if e == nil {
			e = &databaseLine{name: name}
			byName[name], order = e, append(order, e)
		}
		to := &e.pool
		if direct {
			to = &e.direct
		}
		if to.line != 0 {
			return nil, fmt.Errorf("line %d: the name %s is in line %d, too; give each database a name of its own", number, name, to.line)
		}
		*to = at
	}
	var entries []databaseLine
	for _, e := range order {
		if e.pool.line == 0 {
			return nil, fmt.Errorf("line %d: there is no line %s with the address for queries; add it", e.direct.line, e.name)
		}
		entries = append(entries, *e)
	}
	if len(entries) == 0 {
		return nil, errors.New("it names no database: write lines such as orders postgres://iu_worker@db-1/orders")
	}
	return entries, nil
}

func parseLine(line string, number int) (name string, at location, direct bool, err error) {
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		return "", at, false, errors.New("it has no address: write a name, a space and an address")
	}
	name, direct = strings.CutSuffix(line[:end], directSuffix)
	if checkDatabaseName(name) != nil {
		return "", at, false, fmt.Errorf("the name %s must be 1 to 63 lower-case letters, digits, hyphens or underscores", quoted(name))
	}
	at = location{line: number, text: strings.TrimSpace(line[end:])}
	if path, ok := strings.CutPrefix(at.text, fileScheme); ok {
		at.text, at.file = "", path
		if path == "" {
			return "", at, false, errors.New("file: lacks the path of the file that holds the address")
		}
	}
	return name, at, direct, nil
}

// source returns what reads an address of the file.
func (l location) source(a *app, path string) address.Source {
	return address.Source{
		Name: "line " + strconv.Itoa(l.line) + " of " + path, Text: l.text, File: l.file, Getenv: a.getenv, Logger: a.logger,
	}
}

// located are the addresses of a database of the file, read.
type located struct {
	databaseLine

	at  addresses
	err error // why its address cannot be read now; only if a file holds it
}

// locate reads the addresses without connecting. What is wrong in the file itself is an error; a file that it names may appear later.
func (a *app) locate(cmd *cobra.Command, path string, entries []databaseLine) ([]located, error) {
	all := make([]located, len(entries))
	for i, e := range entries {
		l := located{databaseLine: e}
		pool, err := open(cmd, e.pool.source(a, path))
		if err == nil {
			l.at = addresses{pool: pool.Pool, direct: pool.Pool.ConnConfig.Copy(), sized: pool.Sized, reread: []func(context.Context){pool.Reread}}
		}
		fromFile := e.pool.file != ""
		if err == nil && e.direct.line != 0 {
			fromFile = e.direct.file != ""
			direct, directErr := open(cmd, e.direct.source(a, path))
			if err = directErr; err == nil {
				l.at.direct, l.at.reread = direct.Pool.ConnConfig, append(l.at.reread, direct.Reread)
			}
		}
		if err != nil && !fromFile {
			return nil, err
		}
		l.err = err
		all[i] = l
	}
	return all, refuseTwins(path, all)
}

// refuseTwins returns an error if two names are for the same database: the same database name on a server that both addresses have.
func refuseTwins(path string, all []located) error {
	first := map[string]located{}
	for _, l := range all {
		if l.err != nil {
			continue
		}
		for _, server := range serversOf(l.at.pool.ConnConfig) {
			key := server + "/" + cmp.Or(l.at.pool.ConnConfig.Database, l.at.pool.ConnConfig.User)
			if twin, found := first[key]; found && twin.name != l.name {
				return fmt.Errorf("the file %s of --databases: line %d: %s is the same database as %s in line %d; remove one of the two lines",
					path, l.pool.line, l.name, twin.name, twin.pool.line)
			}
			first[key] = l
		}
	}
	return nil
}

// serversOf returns the servers of an address, each once.
func serversOf(cfg *pgx.ConnConfig) []string {
	servers := []string{serverOf(cfg.Host, cfg.Port)}
	for _, f := range cfg.Fallbacks {
		servers = append(servers, serverOf(f.Host, f.Port))
	}
	slices.Sort(servers)
	return slices.Compact(servers)
}

func serverOf(host string, port uint16) string {
	return strings.ToLower(host) + ":" + strconv.Itoa(int(port))
}

// sameAs reports whether a name leads to the same place as before, so that its worker may go on. A new password does not count:
// the next connection uses it.
func (l located) sameAs(before located) bool {
	if l.pool.text != before.pool.text || l.pool.file != before.pool.file || l.direct.text != before.direct.text || l.direct.file != before.direct.file {
		return false
	}
	if l.err != nil || before.err != nil {
		return true // what can be read by now, it reads by itself
	}
	leads := func(cfg *pgx.ConnConfig) []string { return append(serversOf(cfg), cfg.Database, cfg.User) }
	return slices.Equal(leads(l.at.pool.ConnConfig), leads(before.at.pool.ConnConfig)) &&
		slices.Equal(leads(l.at.direct), leads(before.at.direct))
}
