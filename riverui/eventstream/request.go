package eventstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	maxFilters     = 100  // values of one parameter
	maxFilterRunes = 1000 // of one value
)

// request says which events a client asks for.
type request struct {
	start  subscribe.Start
	filter subscribe.Filter
}

// readRequest reads the parameters; an error is a sentence for the client. The Last-Event-ID of a client that reconnects takes
// precedence over the start in its URL.
func readRequest(r *http.Request, now time.Time) (asked request, err error) {
	if r.ContentLength != 0 {
		return asked, errors.New("this request must not have a body")
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return asked, errors.New("the query of the URL cannot be read: percent-encode its values")
	}
	var starts []string
	for name, list := range values {
		switch name {
		case "after", "since", "from":
			if len(list) > 1 {
				return asked, fmt.Errorf("%s is given %d times: give it once", name, len(list))
			}
			starts = append(starts, name)
		case "template":
			asked.filter.Templates, err = list, checkFilter(name, list)
		case "actor":
			asked.filter.Actors, err = list, checkFilter(name, list)
		case "event_type":
			asked.filter.EventTypes, err = list, checkFilter(name, list)
		default:
			err = fmt.Errorf("there is no parameter %.60q: give after, since or from, and template, actor or event_type", name)
		}
		if err != nil {
			return asked, err
		}
	}
	if len(starts) > 1 {
		return asked, errors.New("after, since and from contradict each other: give one of them")
	}
	asked.start, err = readStart(r.Header.Values("Last-Event-ID"), values, now)
	return asked, err
}

func readStart(lastEventID []string, values url.Values, now time.Time) (subscribe.Start, error) {
	switch {
	case len(lastEventID) > 1:
		return subscribe.Start{}, errors.New("Last-Event-ID is given more than once: give one of them")
	case len(lastEventID) == 1 && lastEventID[0] != "":
		return after("Last-Event-ID", lastEventID[0])
	case values.Has("after"):
		return after("after", values.Get("after"))
	case values.Has("since"):
		// A plus sign that was not percent-encoded arrives as a blank.
		at, err := subscribe.ParseSince(strings.ReplaceAll(values.Get("since"), " ", "+"), now)
		if err != nil {
			return subscribe.Start{}, fmt.Errorf("since is %w", err)
		}
		return subscribe.Since(at), nil
	}
	switch from := values.Get("from"); {
	case from == "beginning":
		return subscribe.Beginning(), nil
	case from == "now", !values.Has("from"):
		return subscribe.Now(), nil
	default:
		return subscribe.Start{}, fmt.Errorf("from is %.60q: it must be beginning or now", from)
	}
}

func after(name, text string) (subscribe.Start, error) {
	cursor, err := subscribe.ParseCursor(text)
	if err != nil {
		return subscribe.Start{}, fmt.Errorf("%s is %w", name, err)
	}
	return subscribe.After(cursor), nil
}

func checkFilter(name string, list []string) error {
	if len(list) > maxFilters {
		return fmt.Errorf("%s is given %d times: %d are possible", name, len(list), maxFilters)
	}
	for _, value := range list {
		switch {
		case strings.TrimSpace(value) == "":
			return fmt.Errorf("%s is blank: leave it out, or give a value", name)
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return fmt.Errorf("%s is not valid UTF-8, or has a zero byte in it", name)
		case utf8.RuneCountInString(value) > maxFilterRunes:
			return fmt.Errorf("%s has more than %d characters", name, maxFilterRunes)
		}
	}
	return nil
}
