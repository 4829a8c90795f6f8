package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

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
