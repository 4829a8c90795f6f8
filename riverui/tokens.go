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
type Tokens struct{ secrets[tokens] }

// tokens are the lines of one text.
type tokens struct {
	key  [32]byte // digests say nothing outside of this process
	sums [][32]byte
}

// ReadTokens reads a file with a token on each line: while a new one is rolled out, the old one stays. Empty lines and
// lines that begin with # say nothing. The file is read again when it changes. One that others than its owner and its group
// may read is refused, unless it was mounted for this program.
func ReadTokens(path string) (*Tokens, error) {
	t := &Tokens{}
	if err := t.open(path, "tokens", parseTokens); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file again at once.
func (t *Tokens) Reload() { t.look(true) }

// count returns how many tokens there are.
func (t *Tokens) count() int { return len(t.current().sums) }

// RFC 6750 has no other characters.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// ParseTokens reads the lines of such a file; an error names the line and nothing that it holds.
func ParseTokens(text string) (*Tokens, error) {
	parsed, err := parseTokens(text)
	if err != nil {
		return nil, err
	}
	t := &Tokens{}
	t.now.Store(parsed)
	return t, nil
}

func parseTokens(text string) (*tokens, error) {
	var t tokens
	_, _ = rand.Read(t.key[:]) // never fails
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\uFEFF")) {
		number++
		token := strings.TrimSpace(line)
		switch {
		case token == "" || strings.HasPrefix(token, "#"):
			continue
		case len(token) < minToken:
			return nil, fmt.Errorf("line %d: the token has fewer than %d characters", number, minToken)
		case !tokenForm.MatchString(token):
			return nil, fmt.Errorf("line %d: a token consists of letters, digits and -._~+/, and may end with =", number)
		}
		t.sums = append(t.sums, t.digest(token))
	}
	if len(t.sums) == 0 {
		return nil, errors.New("it has no token: write one per line, such as openssl rand -hex 32 prints")
	}
	return &t, nil
}

func (t *tokens) digest(token string) [32]byte {
	mac := hmac.New(sha256.New, t.key[:])
	_, _ = mac.Write([]byte(token)) // a hash never fails
	return [32]byte(mac.Sum(nil))
}

func (t *Tokens) check(token string) bool { return t.current().check(token) }

// check compares with all tokens, so that its time says nothing.
func (t *tokens) check(token string) bool {
	sum, right := t.digest(token), 0
	for _, known := range t.sums {
		right |= subtle.ConstantTimeCompare(sum[:], known[:])
	}
	return right == 1
}
