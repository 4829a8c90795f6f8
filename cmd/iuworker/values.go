package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// value is the value of a flag. It checks the text itself, so that the command line and the environment are checked
// alike, before anything connects.
type value[T any] struct {
	to    *T
	kind  string // its name in the help
	parse func(text string) (T, error)
	show  func(T) string // "" and "0" are no default for the help to show
}

// Set implements pflag.Value.
func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err == nil {
		*v.to = parsed
	}
	return err
}

// String implements pflag.Value.
func (v *value[T]) String() string { return v.show(*v.to) }

// Type implements pflag.Value.
func (v *value[T]) Type() string { return v.kind }

// intValue is a whole number from least to most.
func intValue(to *int, least, most int) *value[int] {
	return &value[int]{to, "number", func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("it must be a whole number from %d to %d", least, most)
		}
		return n, nil
	}, strconv.Itoa}
}

func boolValue(to *bool) *value[bool] {
	return &value[bool]{to, boolKind, strconv.ParseBool, strconv.FormatBool}
}

// stringValue is a text that passes a check.
func stringValue(to *string, kind string, check func(text string) error) *value[string] {
	return &value[string]{to, kind, func(text string) (string, error) { return text, check(text) }, strings.Clone}
}

// textValue is a text that is not blank and has at most so many characters.
func textValue(to *string, most int) *value[string] {
	return stringValue(to, "text", func(text string) error { return checkText(text, most) })
}

// textsValue is several texts: each time the flag is given adds one.
func textsValue(to *[]string, most int) *value[[]string] {
	return &value[[]string]{to, "text", func(text string) ([]string, error) {
		return append(*to, text), checkText(text, most)
	}, func(texts []string) string { return strings.Join(texts, ", ") }}
}

func checkText(text string, most int) error {
	switch n := len([]rune(text)); {
	case strings.TrimSpace(text) == "":
		return errors.New("it must not be blank")
	case n > most:
		return fmt.Errorf("it has %d characters; the limit is %d", n, most)
	case !validText(text):
		return errors.New("it is not valid UTF-8, or has a zero byte in it")
	}
	return nil
}

// choice is one of a few words, which shells complete.
type choice struct {
	value[string]

	words []string
}

func choiceValue(to *string, words ...string) *choice {
	return &choice{*stringValue(to, strings.Join(words, "|"), func(text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("it must be one of %s", strings.Join(words, ", "))
		}
		return nil
	}), words}
}

// uuidValue is a UUID; uuid.Nil means that none was given.
func uuidValue(to *uuid.UUID) *value[uuid.UUID] {
	return &value[uuid.UUID]{to, "uuid", func(text string) (uuid.UUID, error) {
		id, err := uuid.Parse(text)
		if err != nil || len(text) != 36 || id == uuid.Nil {
			return id, errors.New("it must be a UUID such as 0b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10")
		}
		return id, nil
	}, func(id uuid.UUID) string {
		if id == uuid.Nil {
			return ""
		}
		return id.String()
	}}
}

// worded returns parse with an error in the words of the program.
func worded[T any](parse func(text string) (T, error), must string) func(text string) (T, error) {
	return func(text string) (T, error) {
		parsed, err := parse(text)
		if err != nil {
			err = errors.New("it must be " + must)
		}
		return parsed, err
	}
}

// timeValue is a point in time; the zero time means that none was given.
func timeValue(to *time.Time) *value[time.Time] {
	parse := func(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) }
	return &value[time.Time]{to, "time", worded(parse, "a time such as 2026-12-31T18:00:00Z"), showTime}
}

// sinceValue is a point in time, given as a time or as how long ago it was; the zero time means that none was given.
func sinceValue(to *time.Time) *value[time.Time] {
	return &value[time.Time]{to, sinceKind, parseSince, showTime}
}

const sinceKind = "time|duration"

var parseSince = worded(func(text string) (time.Time, error) { return subscribe.ParseSince(text, time.Now()) },
	"a time such as 2026-12-31T18:00:00Z, or how long ago, such as 30d, 12h or 5m")

func showTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Format(time.RFC3339)
}

const day = 24 * time.Hour

// forever is River's value for rows that are never removed.
const forever time.Duration = -1

// durationValue is a length of time from least to most.
func durationValue(to *time.Duration, least, most time.Duration) *value[time.Duration] {
	return &value[time.Duration]{to, "duration", func(text string) (time.Duration, error) {
		d, err := parseDuration(text)
		if err == nil && (d < least || d > most) {
			err = fmt.Errorf("it must be from %s to %s", formatDuration(least), formatDuration(most))
		}
		return d, err
	}, func(d time.Duration) string {
		if d == 0 {
			return "0" // without a unit the help does not show it
		}
		return formatDuration(d)
	}}
}

// foreverValue is a durationValue that may also be "forever" or 0, which mean the same.
func foreverValue(to *time.Duration, least, most time.Duration) *value[time.Duration] {
	v := durationValue(to, least, most)
	parse, show := v.parse, v.show
	v.parse = func(text string) (time.Duration, error) {
		if d, err := parseDuration(text); text == "forever" || err == nil && d == 0 {
			return forever, nil
		}
		return parse(text)
	}
	v.show = func(d time.Duration) string {
		if d == forever {
			return "forever"
		}
		return show(d)
	}
	return v
}

var (
	daysFirst  = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)d(.*)$`)
	plainDigit = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
)

// parseDuration parses Go's units and, before them, days of 24 hours: 30d, 1d12h, 1.5d, 90m, 250ms. It accepts no sign.
func parseDuration(text string) (time.Duration, error) {
	if plainDigit.MatchString(text) && text != "0" {
		return 0, fmt.Errorf("it has no unit: write %ss, %sm, %sh or %sd", text, text, text, text)
	}
	var days time.Duration
	rest := text
	if m := daysFirst.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil || n*float64(day) >= math.MaxInt64 {
			return 0, errors.New("it is too long")
		}
		days = time.Duration(n * float64(day))
		if rest = m[2]; rest == "" {
			return days, nil
		}
	}
	if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, errors.New("it must be a duration without a sign, such as 30d, 12h, 5m or 500ms")
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, errors.New("it must be a duration such as 30d, 12h, 5m or 500ms")
	}
	if days > math.MaxInt64-d {
		return 0, errors.New("it is too long")
	}
	return days + d, nil
}

// formatDuration returns what parseDuration parses, without Go's empty units: 7d, 24h, 1m30s.
func formatDuration(d time.Duration) string {
	if d > day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
