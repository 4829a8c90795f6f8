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

// readRequest returns which events a client requests; an error is a sentence for the client. The Last-Event-ID of a client that
// reconnects takes precedence over the start in its URL.
func readRequest(r *http.Request, now time.Time) (start subscribe.Start, filter subscribe.Filter, err error) {
	if r.ContentLength != 0 {
		return start, filter, errors.New("this request must not have a body")
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return start, filter, errors.New("the query of the URL cannot be read: percent-encode its values")
	}
	starts := 0
	filters := map[string]*[]string{"template": &filter.Templates, "actor": &filter.Actors, "event_type": &filter.EventTypes}
	for name, list := range values {
		field := filters[name]
		switch {
		case field != nil:
			*field, err = list, checkFilter(name, list)
		case name != "after" && name != "since" && name != "from":
			err = fmt.Errorf("there is no parameter %.60q: give after, since or from, and template, actor or event_type", name)
		case len(list) > 1:
			err = fmt.Errorf("%s is given %d times: give it once", name, len(list))
		default:
			starts++
		}
		if err != nil {
			return start, filter, err
		}
	}
	if starts > 1 {
		return start, filter, errors.New("after, since and from contradict each other: give one of them")
	}
	start, err = readStart(r.Header.Values("Last-Event-ID"), values, now)
	return start, filter, err
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
