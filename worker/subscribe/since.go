package subscribe

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// ErrBadSince is wrapped by the error of ParseSince.
var ErrBadSince = errors.New("not a time")

const day = 24 * time.Hour

// At most 99999 days, which fit in a time.Duration.
var sinceForm = regexp.MustCompile(`^(?:([0-9]{1,5})d)?((?:[0-9].*)?)$`)

// ParseSince parses a time in RFC 3339, or a duration before now in days of 24 hours and Go's units (30d, 1d12h, 90m). The
// error wraps ErrBadSince.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, ok := parseAgo(text)
	if !ok {
		return time.Time{}, fmt.Errorf("%w: %.60q: use a time such as 2026-12-31T18:00:00Z, or how long ago, such as 30d, 12h or 5m",
			ErrBadSince, text)
	}
	return now.Add(-ago), nil
}

// ParseStart parses where to begin: "beginning", "now", a cursor, a position, or what ParseSince parses.
func ParseStart(text string, now time.Time) (Start, error) {
	switch text {
	case "beginning":
		return Beginning(), nil
	case "now":
		return Now(), nil
	}
	if cursor, err := ParseCursor(text); err == nil {
		return After(cursor), nil
	}
	if since, err := ParseSince(text, now); err == nil {
		return Since(since), nil
	}
	return Start{}, errors.New("it must be beginning, now, a cursor as events carry it, a position, " +
		"a time such as 2026-12-31T18:00:00Z, or how long ago, such as 2h")
}

func parseAgo(text string) (ago time.Duration, ok bool) {
	parts := sinceForm.FindStringSubmatch(text)
	if parts == nil || text == "" {
		return 0, false
	}
	if parts[1] != "" {
		days, err := strconv.Atoi(parts[1])
		if err != nil {
			return 0, false
		}
		ago = time.Duration(days) * day
	}
	if parts[2] == "" {
		return ago, true
	}
	rest, err := time.ParseDuration(parts[2])
	return ago + rest, err == nil && rest >= 0 && ago+rest >= 0
}
