package address

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is an address that cannot be used. Its text never repeats a value of the address: if the address is mistyped, the
// password may be anywhere.
type Error struct {
	Source string // where the address comes from
	Reason string // one sentence, without a full stop
}

func (e *Error) Error() string {
	if e.Source == "" {
		return "the database address " + e.Reason
	}
	return "the database address from " + e.Source + " " + e.Reason
}

func wrong(format string, args ...any) *Error { return &Error{Reason: fmt.Sprintf(format, args...)} }

const howTo = "write it like postgres://user@host:5432/database, with special characters of user and password percent-encoded"

// settings are values of parameters, by libpq's names.
type settings map[string]string

// parse parses a URI or keyword/value pairs as libpq does. It refuses what libpq would misunderstand, such as a password with an
// @ in it.
func parse(text string) (settings, error) {
	text, err := trim(text)
	if err != nil {
		return nil, err
	}
	switch {
	case text == "":
		return nil, wrong("is blank: %s", howTo)
	case !utf8.ValidString(text):
		return nil, wrong("is not valid UTF-8: %s", howTo)
	case strings.ContainsRune(text, 0):
		return nil, wrong("has a zero byte in it: %s", howTo)
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(text, scheme); ok {
			return parseURI(rest)
		}
	}
	if err := foreign(text); err != nil {
		return nil, err
	}
	return parsePairs(text)
}

const blanks = " \t\r\n\v\f"

// trim removes what files and shells leave around a value: blanks, line ends, a byte order mark and a pair of quotes.
func trim(text string) (string, error) {
	around := func(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' || r == '\u200B' }
	text = strings.TrimFunc(text, around)
	if text == "" || (text[0] != '\'' && text[0] != '"' && text[0] != '`') {
		return text, nil
	}
	if len(text) < 2 || text[len(text)-1] != text[0] || text[0] == '`' {
		return "", wrong("begins with a quote that it does not end with: %s", howTo)
	}
	return strings.TrimFunc(text[1:len(text)-1], around), nil
}

// foreign refuses a text that is not keyword/value pairs: a wrong scheme, a command line, a URI without a scheme. Its errors
// repeat only words from its own lists.
func foreign(text string) error {
	lower := strings.ToLower(text)
	for _, name := range []string{
		"postgres", "postgresql", "jdbc:postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2", "postgres+asyncpg",
		"mysql", "mariadb", "sqlite", "sqlserver", "mongodb", "redis", "http", "https", "tcp", "unix", "file", "cockroachdb", "pgx",
	} {
		if strings.HasPrefix(lower, name+"://") {
			if name == "postgres" || name == "postgresql" {
				return wrong("has its scheme in capital letters: %s", howTo)
			}
			return wrong("has the scheme %s in place of postgres: %s", name, howTo)
		}
		if strings.HasPrefix(lower, name+":/") || strings.HasPrefix(lower, name+"//") {
			return wrong("begins with %s but lacks the :// of a URI: %s", name, howTo)
		}
	}
	if end := strings.IndexAny(lower, blanks); end > 0 && slices.Contains([]string{"export", "set", "psql", "env", "setenv", "declare"}, lower[:end]) {
		return wrong("begins with the word %s, which is part of a command line: give the address alone", lower[:end])
	}
	before, _, assigned := strings.Cut(text, "=")
	switch {
	case strings.Contains(before, "://"):
		return wrong("has a scheme that is not postgres: %s", howTo)
	case assigned && !strings.ContainsAny(before, "@/:"):
		return nil // parsePairs checks it
	default:
		return wrong("is neither a URI that begins with postgres:// nor keyword=value pairs: %s", howTo)
	}
}

// parsePairs parses keyword=value pairs as libpq's conninfo_parse does.
func parsePairs(text string) (settings, error) {
	found := settings{}
	secret := false // what follows a password may be the rest of it
	for rest := strings.TrimLeft(text, blanks); rest != ""; rest = strings.TrimLeft(rest, blanks) {
		end := strings.IndexAny(rest, "="+blanks)
		if end < 0 {
			end = len(rest)
		}
		key := rest[:end]
		rest = strings.TrimLeft(rest[end:], blanks)
		if !strings.HasPrefix(rest, "=") || key == "" {
			return nil, wrong("has a keyword without a value in it: write keyword=value pairs, with values that hold blanks in single quotes")
		}
		value, after, ok := pairValue(strings.TrimLeft(rest[1:], blanks))
		if !ok {
			return nil, wrong("has a quote in it that is not closed: write a quote in a value as \\'")
		}
		rest = after
		if _, known := parameters[key]; !known {
			return nil, unknown(key, len(found) > 0 && !secret)
		}
		secret = secret || isSecret(key)
		found[key] = value
	}
	return found, nil
}

// In values, a backslash keeps the next character.
var (
	quotedValue = regexp.MustCompile(`(?s)^'((?:\\.|[^\\'])*)'`)
	plainValue  = regexp.MustCompile(`(?s)^(?:\\.?|[^\\ \t\r\n\v\f])*`)
	escape      = regexp.MustCompile(`(?s)\\(.?)`)
)

// pairValue returns the value at the start of a text, quoted or not, and the rest of the text.
func pairValue(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, "'") {
		raw := plainValue.FindString(text)
		return escape.ReplaceAllString(raw, "$1"), text[len(raw):], true
	}
	found := quotedValue.FindStringSubmatch(text)
	if found == nil {
		return "", "", false
	}
	return escape.ReplaceAllString(found[1], "$1"), text[len(found[0]):], true
}

// parseURI parses the text after the scheme as libpq's conninfo_uri_parse_options does.
func parseURI(rest string) (settings, error) {
	found := settings{}
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		user, password, _ := strings.Cut(rest[:i], ":")
		rest = rest[i+1:]
		if err := cmp.Or(found.decode("user", user), found.decode("password", password)); err != nil {
			return nil, err
		}
	}
	credentials := len(found) > 0
	place, query, _ := strings.Cut(rest, "?")
	if strings.Contains(place, "@") {
		return nil, stray()
	}
	hosts, dbname, _ := strings.Cut(place, "/") // even inside brackets, as libpq does
	return found, cmp.Or(found.parseHosts(hosts), found.decode("dbname", dbname), found.parseQuery(query, credentials))
}

func stray() *Error {
	return wrong("has a misplaced @: percent-encode the special characters of user and password (@ is %%40, / is %%2F, ? is %%3F)")
}

// parseHosts splits a list such as host:port,[::1]:port into hosts and ports.
func (s settings) parseHosts(text string) error {
	var hosts, ports []string
	given := false
	for item := range strings.SplitSeq(text, ",") {
		var host, port string
		if strings.HasPrefix(item, "[") {
			end := strings.IndexByte(item, ']')
			if end < 2 || (end+1 < len(item) && item[end+1] != ':') {
				return wrong("has brackets in it that hold no IPv6 address: write [::1]:5432")
			}
			host, port = item[1:end], strings.TrimPrefix(item[end+1:], ":")
		} else {
			host, port, _ = strings.Cut(item, ":")
		}
		hosts, ports = append(hosts, host), append(ports, port)
		given = given || port != ""
	}
	if err := s.decode("host", strings.Join(hosts, ",")); err != nil || (!given && len(ports) < 2) {
		return err
	}
	return s.decode("port", strings.Join(ports, ","))
}

func (s settings) parseQuery(query string, credentials bool) error {
	secret := strings.Contains(query, "@") // a key may be a part of a password
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, raw, ok := strings.Cut(pair, "=")
		if !ok || strings.Contains(raw, "=") {
			return wrong("has a part after the ? that is not key=value: percent-encode = in values (%%3D)")
		}
		key, ok := percentDecoded(rawKey)
		if !ok {
			return undecodable("a key")
		}
		if key == "ssl" && raw == "true" {
			key, raw = "sslmode", "require" // JDBC's form, which libpq accepts
		}
		if _, known := parameters[key]; !known {
			return unknown(key, !secret)
		}
		if !atBelongs(key, raw, credentials) {
			return stray()
		}
		s[key] = "" // even an empty value has precedence over the environment
		if err := s.decode(key, raw); err != nil {
			return err
		}
		secret = secret || isSecret(key)
	}
	return nil
}

// atBelongs reports whether each @ is a part of the value: before the name of an abstract socket; or in a password or a user
// such as me@server, unless credentials came before the host. Any other @ may be the end of an unencoded password.
func atBelongs(key, raw string, credentials bool) bool {
	if !strings.Contains(raw, "@") {
		return true
	}
	if key == "host" {
		return strings.Count(raw, "@") == strings.Count(","+raw, ",@")
	}
	return (key == "user" || key == "password" || key == "sslpassword") && !credentials && !strings.Contains(raw, "/")
}

// decode sets a parameter to a percent-encoded text, unless that is empty.
func (s settings) decode(key, raw string) error {
	if raw == "" {
		return nil
	}
	value, ok := percentDecoded(raw)
	if !ok {
		return undecodable("the " + key)
	}
	s[key] = value
	return nil
}

func undecodable(what string) *Error {
	return wrong("cannot be decoded in %s: write special characters as %% and two hexadecimal digits (a blank is %%20, %% itself is %%25)", what)
}

// percentDecoded decodes as libpq does: it trims blanks and refuses them elsewhere.
func percentDecoded(raw string) (string, bool) {
	raw = strings.Trim(raw, " ")
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", false
	}
	value, err := url.PathUnescape(raw)
	return value, err == nil && !strings.ContainsRune(value, 0)
}
