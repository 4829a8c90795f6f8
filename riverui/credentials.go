package webui

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
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
	hashingAtOnce = 2 // a hash costs tens of milliseconds of a core, and anybody may cause one
)

// Credentials lists the users of the pages. It holds digests, not passwords. It is safe for concurrent use.
type Credentials struct{ secrets[users] }

// users are the lines of one text.
type users struct {
	key     digestKey
	entries []*credential
	decoy   *credential // compared if the user is unknown
	hashing chan struct{}
}

type credential struct {
	user     string
	userSum  [32]byte
	role     Role
	password [32]byte                 // digest; not used if hash is set
	hash     []byte                   // bcrypt
	proven   atomic.Pointer[[32]byte] // digest of the password that matched the hash
}

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
	err := c.store(parseUsers(text))
	return c, err
}

func parseUsers(text string) (*users, error) {
	c := &users{key: newDigestKey(), hashing: make(chan struct{}, hashingAtOnce)}
	err := secretLines(text, func(line string) error {
		entry, err := c.parse(line)
		c.entries = append(c.entries, entry)
		return err
	})
	if err != nil {
		return nil, err
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
	entry := &credential{user: user, userSum: c.key.digest(user), role: role}
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
	entry.password = c.key.digest(password)
	return entry, nil
}

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
func (c *Credentials) check(user, password string) (account, bool) {
	return c.current().check(user, password)
}

func (c *users) check(user, password string) (account, bool) {
	userSum, sum := c.key.digest(user), c.key.digest(password)
	found := c.decoy
	for _, entry := range c.entries {
		if subtle.ConstantTimeCompare(userSum[:], entry.userSum[:]) == 1 {
			found = entry
		}
	}
	right := subtle.ConstantTimeCompare(sum[:], found.password[:]) == 1
	if found.hash != nil {
		right = c.checkHash(found, password, sum)
	}
	return account{name: found.user, role: found.role}, right && found != c.decoy
}

// checkHash compares a bcrypt hash. A password that matched before is recognized by its digest.
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
