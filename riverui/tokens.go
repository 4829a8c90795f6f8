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
)

const minToken = 16 // characters: nobody has to remember one

// Tokens are what programs follow the events with: the header "Authorization: Bearer TOKEN". They hold no token, only
// digests. Safe for concurrent use.
type Tokens struct {
	key  [32]byte // digests say nothing outside of this process
	sums [][32]byte
}

// ReadTokens reads a file with a token on each line: while a new one is rolled out, the old one stays. Empty lines and
// lines that begin with # say nothing. A file that others than its owner and its group may read is refused.
func ReadTokens(path string) (*Tokens, error) {
	text, err := readSecrets(path, "tokens")
	if err != nil {
		return nil, err
	}
	tokens, err := ParseTokens(text)
	if err != nil {
		return nil, fmt.Errorf("the tokens file %s: %w", path, err)
	}
	return tokens, nil
}

// RFC 6750 has no other characters.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// ParseTokens reads the lines of such a file; an error names the line and nothing that it holds.
func ParseTokens(text string) (*Tokens, error) {
	var t Tokens
	_, _ = rand.Read(t.key[:]) // never fails
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		number++
		token := strings.TrimSpace(line)
		switch {
		case token == "" || strings.HasPrefix(token, "#"):
			continue
		case len(token) < minToken:
			return nil, fmt.Errorf("line %d: the token has under %d characters", number, minToken)
		case !tokenForm.MatchString(token):
			return nil, fmt.Errorf("line %d: a token is of letters, digits and -._~+/ alone, and may end with =", number)
		}
		t.sums = append(t.sums, t.digest(token))
	}
	if len(t.sums) == 0 {
		return nil, errors.New("there is no token in it: write one on a line, such as openssl rand -hex 32 makes")
	}
	return &t, nil
}

func (t *Tokens) digest(token string) [32]byte {
	mac := hmac.New(sha256.New, t.key[:])
	_, _ = mac.Write([]byte(token)) // a hash never fails
	return [32]byte(mac.Sum(nil))
}

// check compares with all tokens, so that its time says nothing.
func (t *Tokens) check(token string) bool {
	sum, right := t.digest(token), 0
	for _, known := range t.sums {
		right |= subtle.ConstantTimeCompare(sum[:], known[:])
	}
	return right == 1
}
