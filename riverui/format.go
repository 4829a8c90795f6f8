package webui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/operate"
)

// functions are what templates format with.
var functions = template.FuncMap{
	"at":      at,
	"exactly": exactly,
	"number":  number,
	"count":   operate.Count.String,
	"seconds": seconds,
	"rate":    rate, "timeLeft": timeLeft,
	"trace":   func(base string, of any) string { return base + "/trace?q=" + template.URLQueryEscaper(of) },
	"toEvent": func(base, key string) string { return base + "/events/" + url.PathEscape(key) },
	"toTemplate": func(base string, key any) string {
		if pointer, ok := key.(*string); ok {
			key = *pointer
		}
		return base + "/templates/" + url.PathEscape(fmt.Sprint(key))
	},
	"toConsumer":   func(base, name string) string { return base + consumerPath(name) },
	"cursorBefore": cursorBefore,
	"sentence":     sentence,
	"jobs":         func(n operate.Count) string { return n.Of("job", "jobs") },
	"some":         operate.Plural,
	"dict":         dict,
	"known":        known,
	"pretty":       pretty,
	"setTime":      setTime,

	"withoutCommand": func(text string) string { return command.ReplaceAllString(text, "") },
}

// command matches the end of a text that says what to run. A page shows the command beside its buttons instead.
var command = regexp.MustCompile(`; [^;]*\brun: .*$`)

// cursorBefore returns the cursor after which the event of a cursor is the first.
func cursorBefore(cursor string) string {
	epoch, position, _ := strings.Cut(cursor, "-")
	n, err := strconv.ParseInt(position, 10, 64)
	if err != nil || n < 1 {
		return cursor
	}
	return fmt.Sprintf("%s-%d", epoch, n-1)
}

// timeOf returns a time that may be missing, in UTC.
func timeOf(t any) (at time.Time, known bool) {
	switch t := t.(type) {
	case time.Time:
		return t.UTC(), true
	case *time.Time:
		if t != nil {
			return t.UTC(), true
		}
	}
	return at, false
}

// at returns a time as the page shows it; the page's script shows how long ago it was.
func at(t any) template.HTML {
	when, known := timeOf(t)
	if !known {
		return "never"
	}
	text := when.Format(time.DateTime)
	//nolint:gosec // digits alone
	return template.HTML(`<time data-ago datetime="` + when.Format(time.RFC3339) + `" title="` + text + ` UTC">` + text + ` UTC</time>`)
}

// exactly returns a time of the day in UTC, with the date if it is not today's.
func exactly(t any) template.HTML {
	when, _ := timeOf(t)
	text := when.Format(time.TimeOnly)
	if when.Format(time.DateOnly) != time.Now().UTC().Format(time.DateOnly) {
		text = when.Format(time.DateTime)
	}
	//nolint:gosec // digits alone
	return template.HTML(`<time datetime="` + when.Format(time.RFC3339) + `">` + text + ` UTC</time>`)
}

// number returns 12345 as "12,345".
func number(n any) string {
	switch n := n.(type) {
	case int:
		return operate.Thousands(int64(n))
	case int64:
		return operate.Thousands(n)
	case *int64:
		if n == nil {
			return "–"
		}
		return operate.Thousands(*n)
	default:
		return fmt.Sprint(n)
	}
}

// float returns a number that may be missing.
func float(n any) (v float64, known bool) {
	switch n := n.(type) {
	case float64:
		return n, true
	case *float64:
		if n != nil {
			return *n, true
		}
	}
	return 0, false
}

// seconds returns a length of time in a suitable unit.
func seconds(s any) string {
	v, known := float(s)
	if !known {
		return "–"
	}
	switch {
	case v < 1:
		return fmt.Sprintf("%.0f ms", v*1000)
	case v < 60:
		return fmt.Sprintf("%.1f s", v)
	case v < 3600:
		return fmt.Sprintf("%.0f min", v/60)
	case v < 48*3600:
		return fmt.Sprintf("%.1f h", v/3600)
	default:
		return fmt.Sprintf("%.1f days", v/86400)
	}
}

// rate returns a number per second, or per minute if it is small.
func rate(perSecond float64) string {
	if perSecond >= 10 || perSecond == 0 {
		return number(int64(perSecond+0.5)) + " per second"
	}
	return number(int64(perSecond*60+0.5)) + " per minute"
}

// timeLeft returns a length of time in its two largest units: 42 s, 3 min 10 s, 2 h 5 min, 1 d 3 h.
func timeLeft(seconds *float64) string {
	if seconds == nil {
		return "–"
	}
	s := int64(*seconds + 0.5)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	default:
		return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
	}
}

// known returns "yes", "no", or "" for nil.
func known(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "yes"
	default:
		return "no"
	}
}

func pretty(text json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return string(text)
	}
	return b.String()
}

// sentence returns a text that begins with a capital.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// dict passes several values to a template.
func dict(pairs ...any) (map[string]any, error) {
	d := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %d is a %T", i, pairs[i])
		}
		d[key] = pairs[i+1]
	}
	return d, nil
}

// quoted quotes a word for a POSIX shell if it needs that.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/:=@%+,-", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
