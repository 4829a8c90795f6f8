package operate

import (
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// CountLimit is the most rows that are counted: beyond it, only "many" matters.
const CountLimit = 10_000

// Count is a number of rows. If More is true, there are more than N.
type Count struct {
	N    int64 `json:"count"`
	More bool  `json:"more,omitempty"`
}

// String returns "12" or "over 10,000".
func (c Count) String() string {
	if c.More {
		return "over " + Thousands(c.N)
	}
	return Thousands(c.N)
}

// Of returns the count with its noun.
func (c Count) Of(one, many string) string {
	if c.N == 1 && !c.More {
		return "1 " + one
	}
	return c.String() + " " + many
}

// Thousands formats a number with commas.
func Thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// ScanInt64 sets the count from a column that counts at most CountLimit+1 rows.
func (c *Count) ScanInt64(n pgtype.Int8) error {
	*c = Counted(n.Int64)
	return nil
}

// Counted returns the Count of n rows, of which no more than CountLimit+1 were read.
func Counted(n int64) Count { return Count{N: min(n, CountLimit), More: n > CountLimit} }

// Plural returns a number with its noun.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Lasted formats a number of seconds as a duration.
func Lasted(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
