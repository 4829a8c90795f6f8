package webui

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const minToken = 16 // characters; tokens need not be remembered

// Tokens let programs follow the events: they send the header "Authorization: Bearer TOKEN". A Tokens value holds digests, not
// tokens. It is safe for concurrent use.
type Tokens struct{ secrets[tokens] }

// tokens are the lines of one text.
type tokens struct {
	key  digestKey
	sums [][32]byte
}

// ReadTokens reads a file with one token per line, so that an old token may stay while a new one is rolled out. Empty lines and
// lines that begin with # are ignored. The file is read again when it changes. A file that others than its owner and its group
// may read is refused, unless it was mounted for this program.
func ReadTokens(path string) (*Tokens, error) {
	t := &Tokens{}
	err := t.open(path, "tokens", parseTokens)
	return t, err
}

// ParseTokens parses the lines of such a file. An error names the line and nothing that it holds.
func ParseTokens(text string) (*Tokens, error) {
	t := &Tokens{}
	err := t.store(parseTokens(text))
	return t, err
}

// count returns the number of tokens.
func (t *Tokens) count() int { return len(t.current().sums) }

// tokenForm has the characters that RFC 6750 allows.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func parseTokens(text string) (*tokens, error) {
	t := &tokens{key: newDigestKey()}
	err := secretLines(text, func(line string) error {
		token := strings.TrimSpace(line)
		switch {
		case len(token) < minToken:
			return fmt.Errorf("the token has fewer than %d characters", minToken)
		case !tokenForm.MatchString(token):
			return errors.New("a token consists of letters, digits and -._~+/, and may end with =")
		}
		t.sums = append(t.sums, t.key.digest(token))
		return nil
	})
	if err == nil && len(t.sums) == 0 {
		err = errors.New("it has no token: write one per line, such as openssl rand -hex 32 prints")
	}
	return t, err
}

// check compares a token with all known ones, so that its duration reveals nothing.
func (t *Tokens) check(token string) bool {
	known := t.current()
	sum, right := known.key.digest(token), 0
	for _, k := range known.sums {
		right |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return right == 1
}
