package webui

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// Role says what a user may do on the pages.
type Role string

const (
	// RoleViewer sees everything and changes nothing.
	RoleViewer Role = "viewer"
	// RoleOperator sees and changes everything.
	RoleOperator Role = "operator"
)

const (
	minPassword   = 8 // characters; hashes are taken as they are
	hashingAtOnce = 2 // a hash takes tens of milliseconds of a core, and anybody may cause one
)

// Credentials lists the users of the pages. It holds digests, not passwords. It is safe for concurrent use.
type Credentials struct{ secrets[users] }

// users are the lines of one text.
type users struct {
	key     digestKey
	entries map[[32]byte]*credential // by the digest of the user
	decoy   *credential              // compared if the user is unknown
	hashing chan struct{}
}

type credential struct {
	account

	password [32]byte                 // digest; not used if hash is set
	hash     []byte                   // bcrypt
	proven   atomic.Pointer[[32]byte] // digest of the password that matched the hash

	sessionKey func() [32]byte // signs the sessions of the user; the same in every process with this line
}

// sessionKeyOf returns a function that derives the key of a user's sessions from the line, when it is first called: every process
// behind a load balancer accepts what another one has signed, and a new password ends the sessions. Who has a session must not be
// able to guess the password from it, so that the derivation takes tens of milliseconds.
func sessionKeyOf(user, password string) func() [32]byte {
	secret := sha256.Sum256([]byte("iuworker session\x00" + user + "\x00" + password))
	return sync.OnceValue(func() [32]byte {
		key, err := pbkdf2.Key(sha256.New, string(secret[:]), []byte(sessionCookie+" "+user), sessionRounds, len(secret))
		if err != nil {
			panic(err) // only for lengths that cannot be
		}
		return [32]byte(key)
	})
}

const sessionRounds = 100_000

// ReadCredentials reads a file with a line "role:user:password" for each user. The password may be a bcrypt hash, such as
// htpasswd -B makes. Empty lines and lines that begin with # are ignored. The file is read again when it changes. A file that
// others than its owner and its group may read is refused, unless it was mounted for this program.
func ReadCredentials(path string) (*Credentials, error) {
	c := &Credentials{}
	err := c.open(path, "credentials", parseUsers)
	return c, err
}

// ParseCredentials parses the lines of such a file. An error names the line and nothing that it holds.
func ParseCredentials(text string) (*Credentials, error) {
	c := &Credentials{}
	err := c.set(parseUsers(text))
	return c, err
}

func parseUsers(text string) (*users, error) {
	c := &users{key: newDigestKey(), entries: map[[32]byte]*credential{}, hashing: make(chan struct{}, hashingAtOnce)}
	err := secretLines(text, c.add)
	if err == nil && len(c.entries) == 0 {
		err = errors.New("it has no user: write lines such as operator:ann:password")
	}
	return c, err
}

var userForm = regexp.MustCompile(`^[[:graph:]]{1,100}$`)

func (c *users) add(line string) error {
	role, rest, _ := strings.Cut(line, ":")
	user, password, complete := strings.Cut(rest, ":")
	entry := &credential{account: account{name: user, role: Role(strings.TrimSpace(role))}, sessionKey: sessionKeyOf(user, password)}
	key, hashed := c.key.digest(user), strings.HasPrefix(password, "$2")
	_, invalidHash := bcrypt.Cost([]byte(password))
	switch {
	case !complete:
		return errors.New("it must be role:user:password")
	case entry.role != RoleViewer && entry.role != RoleOperator:
		return fmt.Errorf("the role must be %s or %s", RoleViewer, RoleOperator)
	case !userForm.MatchString(user):
		return errors.New("the user must be 1 to 100 letters, digits or signs, without spaces")
	case c.entries[key] != nil:
		return errors.New("the user is in an earlier line, too")
	case hashed && invalidHash != nil:
		return errors.New("the password begins like a bcrypt hash but is not one")
	case hashed:
		entry.hash = []byte(password)
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Errorf("the password has fewer than %d characters", minPassword)
	default:
		entry.password = c.key.digest(password)
	}
	if c.decoy == nil {
		c.decoy = &credential{hash: entry.hash}
	}
	c.entries[key] = entry
	return nil
}

// named returns the user with a name, or nil.
func (c *users) named(name string) *credential { return c.entries[c.key.digest(name)] }

// count returns the numbers of operators and viewers.
func (c *Credentials) count() (operators, viewers int) {
	for _, entry := range c.current().entries {
		if entry.role == RoleOperator {
			operators++
		} else {
			viewers++
		}
	}
	return operators, viewers
}

// check returns whose user and password they are. It names the account even if only the password is wrong. An unknown user
// takes as long as a known one.
func (c *users) check(user, password string) (account, bool) {
	found := cmp.Or(c.named(user), c.decoy)
	sum := c.key.digest(password)
	right := sum == found.password
	if found.hash != nil {
		right = c.checkHash(found, password, sum)
	}
	return found.account, right && found != c.decoy
}

// checkHash compares a bcrypt hash. A password that matched before is recognized by its digest.
func (c *users) checkHash(entry *credential, password string, sum [32]byte) bool {
	if proven := entry.proven.Load(); proven != nil && *proven == sum {
		return true
	}
	c.hashing <- struct{}{}
	defer func() { <-c.hashing }()
	if bcrypt.CompareHashAndPassword(entry.hash, []byte(password)) != nil {
		return false
	}
	entry.proven.Store(&sum)
	return true
}

const minToken = 16 // characters; tokens need not be remembered

// Tokens let programs follow the events or read the metrics: they send the header "Authorization: Bearer TOKEN". A Tokens value
// holds digests, not tokens. It is safe for concurrent use.
type Tokens struct{ secrets[tokens] }

// tokens are the lines of one text.
type tokens struct {
	key  digestKey
	sums map[[32]byte]bool
}

// ReadTokens reads a file with one token per line: an old token may stay while a new one is rolled out. Comments, changes and
// permissions of the file are handled as by ReadCredentials.
func ReadTokens(path string) (*Tokens, error) {
	t := &Tokens{}
	err := t.open(path, "tokens", parseTokens)
	return t, err
}

// ParseTokens parses the lines of such a file. An error names the line and nothing that it holds.
func ParseTokens(text string) (*Tokens, error) {
	t := &Tokens{}
	err := t.set(parseTokens(text))
	return t, err
}

// tokenForm has the characters that RFC 6750 allows.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func parseTokens(text string) (*tokens, error) {
	t := &tokens{key: newDigestKey(), sums: map[[32]byte]bool{}}
	err := secretLines(text, func(line string) error {
		token := strings.TrimSpace(line)
		switch {
		case len(token) < minToken:
			return fmt.Errorf("the token has fewer than %d characters", minToken)
		case !tokenForm.MatchString(token):
			return errors.New("a token consists of letters, digits and -._~+/, and may end with =")
		}
		t.sums[t.key.digest(token)] = true
		return nil
	})
	if err == nil && len(t.sums) == 0 {
		err = errors.New("it has no token: write one per line, such as openssl rand -hex 32 prints")
	}
	return t, err
}

// check reports whether a token is one of the file's. Its time tells nothing of them: they are found by their digests, whose key
// nobody knows.
func (t *tokens) check(token string) bool { return t.sums[t.key.digest(token)] }
