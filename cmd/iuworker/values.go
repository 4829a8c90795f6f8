package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// Flags check their values themselves, so that the command line and the environment are checked alike, before
// anything connects.

// intValue is a whole number between min and max.
type intValue struct {
	to       *int
	min, max int
}

// Set implements pflag.Value.
func (v *intValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < v.min || n > v.max {
		return fmt.Errorf("it must be a whole number from %d to %d", v.min, v.max)
	}
	*v.to = n
	return nil
}

// String implements pflag.Value.
func (v *intValue) String() string {
	if v.to == nil {
		return ""
	}
	return strconv.Itoa(*v.to)
}

// Type implements pflag.Value; it is the value's name in the help.
func (*intValue) Type() string { return "number" }

// choiceValue is one of a few words.
type choiceValue struct {
	to      *string
	choices []string
}

// Set implements pflag.Value.
func (v *choiceValue) Set(text string) error {
	if !slices.Contains(v.choices, text) {
		return fmt.Errorf("it must be one of %s", strings.Join(v.choices, ", "))
	}
	*v.to = text
	return nil
}

// String implements pflag.Value.
func (v *choiceValue) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

// Type implements pflag.Value.
func (v *choiceValue) Type() string { return strings.Join(v.choices, "|") }

// textValue is a text that is not blank and has at most max characters.
type textValue struct {
	to  *string
	max int
}

// Set implements pflag.Value.
func (v *textValue) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("it must not be blank")
	}
	if len([]rune(text)) > v.max {
		return fmt.Errorf("it has %d characters; the limit is %d", len([]rune(text)), v.max)
	}
	if !validText(text) {
		return errors.New("it is not valid UTF-8, or has a zero byte in it")
	}
	*v.to = text
	return nil
}

// String implements pflag.Value.
func (v *textValue) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

// Type implements pflag.Value.
func (*textValue) Type() string { return "text" }

// uuidValue is a UUID; uuid.Nil means that none was given.
type uuidValue struct{ to *uuid.UUID }

// Set implements pflag.Value.
func (v *uuidValue) Set(text string) error {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 || id == uuid.Nil {
		return errors.New("it must be a UUID such as 0b54b1f2-5d4c-4f0e-9a4e-3a1d2c7b9e10")
	}
	*v.to = id
	return nil
}

// String implements pflag.Value.
func (v *uuidValue) String() string {
	if v.to == nil || *v.to == uuid.Nil {
		return ""
	}
	return v.to.String()
}

// Type implements pflag.Value.
func (*uuidValue) Type() string { return "uuid" }

// timeValue is a moment; the zero time means that none was given.
type timeValue struct{ to *time.Time }

// Set implements pflag.Value.
func (v *timeValue) Set(text string) error {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errors.New("it must be a time such as 2026-12-31T18:00:00Z")
	}
	*v.to = at
	return nil
}

// String implements pflag.Value.
func (v *timeValue) String() string {
	if v.to == nil || v.to.IsZero() {
		return ""
	}
	return v.to.Format(time.RFC3339)
}

// Type implements pflag.Value.
func (*timeValue) Type() string { return "time" }

// sinceValue is a moment, given as a time or as how long ago it was; the zero time means that none was given.
type sinceValue struct{ to *time.Time }

// Set implements pflag.Value.
func (v *sinceValue) Set(text string) error {
	at, err := subscribe.ParseSince(text, time.Now())
	if err != nil {
		return errors.New("it must be a time such as 2026-12-31T18:00:00Z, or how long ago, such as 30d, 12h or 5m")
	}
	*v.to = at
	return nil
}

// String implements pflag.Value.
func (v *sinceValue) String() string { return (&timeValue{v.to}).String() }

// Type implements pflag.Value.
func (*sinceValue) Type() string { return "time|duration" }

// textsValue is texts as textValue has one; each time the flag is given adds one.
type textsValue struct {
	to  *[]string
	max int
}

// Set implements pflag.Value.
func (v *textsValue) Set(text string) error {
	var one string
	if err := (&textValue{&one, v.max}).Set(text); err != nil {
		return err
	}
	*v.to = append(*v.to, one)
	return nil
}

// String implements pflag.Value.
func (v *textsValue) String() string {
	if v.to == nil {
		return ""
	}
	return strings.Join(*v.to, ", ")
}

// Type implements pflag.Value.
func (*textsValue) Type() string { return "text" }
