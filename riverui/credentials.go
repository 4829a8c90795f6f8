package webui

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// Role is what somebody may do on the pages.
type Role string

const (
	// RoleViewer sees everything and changes nothing.
	RoleViewer Role = "viewer"
	// RoleOperator sees and changes everything.
	RoleOperator Role = "operator"
)

const (
	minPassword   = 8 // characters; hashes are taken as they are
	hashingAtOnce = 2 // a hash costs tens of milliseconds of a core, and everybody may ask for one
)

// Credentials are who may use the pages. They hold no password, only digests. Safe for concurrent use.
type Credentials struct{ secrets[users] }

// users are the lines of one text.
type users struct {
	key     [32]byte // digests say nothing outside of this process
	entries []*credential
	decoy   *credential // is compared if the user is unknown, so that it takes as long
	hashing chan struct{}
}

type credential struct {
	user     string
	userSum  [32]byte
	role     Role
	password [32]byte                 // digest; of no use if hash is set
	hash     []byte                   // bcrypt
	proven   atomic.Pointer[[32]byte] // digest of the password that matched the hash
}

// ReadCredentials reads a file with a line "role:user:password" for each user; the password may be a bcrypt hash, as
// htpasswd -B makes them. Empty lines and lines that begin with # are ignored. The file is read again when it changes. One
// that others than its owner and its group may read is refused, unless it was mounted for this program.
func ReadCredentials(path string) (*Credentials, error) {
	c := &Credentials{}
	if err := c.open(path, "credentials", parseUsers); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the file again at once.
func (c *Credentials) Reload() { c.look(true) }

// ParseCredentials reads the lines of such a file; an error names the line and nothing that it holds.
func ParseCredentials(text string) (*Credentials, error) {
	parsed, err := parseUsers(text)
	if err != nil {
		return nil, err
	}
	c := &Credentials{}
	c.now.Store(parsed)
	return c, nil
}

func parseUsers(text string) (*users, error) {
	c := &users{hashing: make(chan struct{}, hashingAtOnce)}
	if _, err := rand.Read(c.key[:]); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		entry, err := c.parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		c.entries = append(c.entries, entry)
	}
	if len(c.entries) == 0 {
		return nil, errors.New("it has no user: write lines such as operator:ann:password")
	}
	c.decoy = &credential{hash: c.entries[0].hash}
	return c, nil
}

var userForm = regexp.MustCompile(`^[[:graph:]]{1,100}$`)

func (c *users) parse(line string) (*credential, error) {
	parts := strings.SplitN(line, ":", 3)
	if len(parts) != 3 {
		return nil, errors.New("it must be role:user:password")
	}
	role, user, password := Role(strings.TrimSpace(parts[0])), parts[1], parts[2]
	if role != RoleViewer && role != RoleOperator {
		return nil, fmt.Errorf("the role must be %s or %s", RoleViewer, RoleOperator)
	}
	if !userForm.MatchString(user) {
		return nil, errors.New("the user must be 1 to 100 letters, digits or signs, without spaces")
	}
	entry := &credential{user: user, userSum: c.digest(user), role: role}
	for _, other := range c.entries {
		if other.user == user {
			return nil, errors.New("the user is in an earlier line, too")
		}
	}
	if strings.HasPrefix(password, "$2") {
		if _, err := bcrypt.Cost([]byte(password)); err != nil {
			return nil, errors.New("the password begins like a bcrypt hash but is not one")
		}
		entry.hash = []byte(password)
		return entry, nil
	}
	if utf8.RuneCountInString(password) < minPassword {
		return nil, fmt.Errorf("the password has fewer than %d characters", minPassword)
	}
	entry.password = c.digest(password)
	return entry, nil
}

func (c *users) digest(text string) [32]byte {
	mac := hmac.New(sha256.New, c.key[:])
	_, _ = mac.Write([]byte(text)) // a hash never fails
	return [32]byte(mac.Sum(nil))
}

// count returns how many operators and viewers there are.
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

// check returns who it is. The account is named, too, if only the password is wrong.
func (c *Credentials) check(user, password string) (account, bool) {
	return c.current().check(user, password)
}

func (c *users) check(user, password string) (account, bool) {
	userSum, sum := c.digest(user), c.digest(password)
	found := c.decoy
	for _, entry := range c.entries {
		if subtle.ConstantTimeCompare(userSum[:], entry.userSum[:]) == 1 {
			found = entry
		}
	}
	var right bool
	if found.hash != nil {
		right = c.checkHash(found, password, sum)
	} else {
		right = subtle.ConstantTimeCompare(sum[:], found.password[:]) == 1
	}
	return account{name: found.user, role: found.role}, right && found != c.decoy
}

// checkHash hashes a password once: who was right before is known by the digest.
func (c *users) checkHash(entry *credential, password string, sum [32]byte) bool {
	if proven := entry.proven.Load(); proven != nil && subtle.ConstantTimeCompare(sum[:], proven[:]) == 1 {
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
