package jetstream

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/iu-core/iuworker/worker/subscribe"
)

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// fields are what placeholders stand for.
var fields = map[string]func(database string, e subscribe.Event) string{
	"{database}":   func(database string, _ subscribe.Event) string { return database },
	"{template}":   func(_ string, e subscribe.Event) string { return e.Data.TemplateKey },
	"{actor}":      func(_ string, e subscribe.Event) string { return e.Data.Actor },
	"{event_type}": func(_ string, e subscribe.Event) string { return e.Data.EventType },
}

// CheckSubject returns an error if a text is not a subject with our placeholders.
func CheckSubject(subject string) error {
	for _, name := range placeholder.FindAllString(subject, -1) {
		if fields[name] == nil {
			return errors.New("the placeholders are {database}, {template}, {actor} and {event_type}")
		}
	}
	for part := range strings.SplitSeq(placeholder.ReplaceAllString(subject, "x"), ".") {
		if part == "" || token(part) != part {
			return errors.New("it must be words between dots, of printable characters other than blanks, * > $ { }")
		}
	}
	return nil
}

// tokenMax keeps subjects below the 4 kB that a server takes in one line.
const tokenMax = 256

// token returns a text as a word of a subject: a character that it may not hold, or that has a meaning there, becomes _.
func token(text string) string {
	if text == "" {
		return "_"
	}
	if len(text) > tokenMax {
		text = text[:tokenMax]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(".*>${}", r) {
			return '_'
		}
		return r
	}, text)
}

// subjects makes the subjects of messages. It remembers the last ones: events have few templates.
type subjects struct {
	template, database string
	known              map[subjectKey]string
}

type subjectKey struct{ template, actor, eventType string }

const subjectsKnown = 1000

func newSubjects(template, database string) *subjects {
	return &subjects{template: template, database: database, known: map[subjectKey]string{}}
}

func (s *subjects) of(e subscribe.Event) string {
	key := subjectKey{template: e.Data.TemplateKey}
	if strings.Contains(s.template, "{actor}") {
		key.actor = e.Data.Actor
	}
	if strings.Contains(s.template, "{event_type}") {
		key.eventType = e.Data.EventType
	}
	subject, known := s.known[key]
	if !known {
		subject = placeholder.ReplaceAllStringFunc(s.template, func(name string) string { return token(fields[name](s.database, e)) })
		if len(s.known) >= subjectsKnown {
			clear(s.known)
		}
		s.known[key] = subject
	}
	return subject
}

// wildcard is the subject of all messages.
func (s *subjects) wildcard() string {
	words := strings.Split(s.template, ".")
	for i, word := range words {
		word = strings.ReplaceAll(word, "{database}", token(s.database))
		if placeholder.MatchString(word) {
			word = "*"
		}
		words[i] = word
	}
	return strings.Join(words, ".")
}

// covers reports whether a subject of a stream takes every subject that a narrower one takes.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "."), strings.Split(narrow, ".")
	for i, word := range w {
		switch {
		case word == ">":
			return len(n) > i
		case i >= len(n) || word != "*" && word != n[i]:
			return false
		}
	}
	return len(w) == len(n)
}

func anyCovers(wide []string, narrow string) bool {
	return slices.ContainsFunc(wide, func(subject string) bool { return covers(subject, narrow) })
}
