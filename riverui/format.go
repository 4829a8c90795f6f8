package webui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"slices"
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
		name, _ := given[string](key)
		return base + "/templates/" + url.PathEscape(name)
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

// given returns a value that may be missing: a T or a *T.
func given[T any](v any) (value T, known bool) {
	switch v := v.(type) {
	case *T:
		if v != nil {
			return *v, true
		}
	case T:
		return v, true
	}
	return value, false
}

// at returns a time as the page shows it; the page's script shows how long ago it was.
func at(t any) template.HTML {
	when, known := given[time.Time](t)
	if !known {
		return "never"
	}
	when = when.UTC()
	text := when.Format(time.DateTime)
	//nolint:gosec // digits alone
	return template.HTML(`<time data-ago datetime="` + when.Format(time.RFC3339) + `" title="` + text + ` UTC">` + text + ` UTC</time>`)
}

// exactly returns a time of the day in UTC, with the date if it is not today's.
func exactly(t any) template.HTML {
	when, _ := given[time.Time](t)
	when = when.UTC()
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

// seconds returns a length of time in a suitable unit.
func seconds(s any) string {
	v, known := given[float64](s)
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
func dict(pairs ...any) map[string]any {
	d := map[string]any{}
	for pair := range slices.Chunk(pairs, 2) {
		d[fmt.Sprint(pair[0])] = pair[1]
	}
	return d
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/:=@%+,-]+$`)

// quoted quotes a word for a POSIX shell if it needs that.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
