package webui

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// filterText is the longest value of a filter, in characters.
const filterText = 1000

// isText reports whether a text may be a value of a filter, or a key.
func isText(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= filterText && !strings.ContainsRune(text, 0)
}

// readFields reads the values of a filter from an address or a form. An error names the value that is not valid text.
func readFields(form url.Values, names []string, field func(name string) *string) error {
	for _, name := range names {
		value := strings.TrimSpace(form.Get(name))
		if !isText(value) {
			return fmt.Errorf("%s is not a text of up to %d characters", name, filterText)
		}
		*field(name) = value
	}
	return nil
}

// setFields returns the values that are set.
func setFields(names []string, field func(name string) *string) map[string]string {
	fields := map[string]string{}
	for _, name := range names {
		if value := *field(name); value != "" {
			fields[name] = value
		}
	}
	return fields
}

// queryOf returns the values of a filter and more pairs as a query that begins with ?, or "".
func queryOf(fields map[string]string, more ...string) string {
	query := url.Values{}
	for name, value := range fields {
		query.Set(name, value)
	}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	if len(query) == 0 {
		return ""
	}
	return "?" + query.Encode()
}

// listPage is a page of a list.
type listPage[T any, K comparable] struct {
	Rows         []T
	Newer, Older K // the keys that bound the pages before and after it; zero: there is no such page
}

// newListPage makes a page of rows, of which there is one more than the page has if the list continues. back says that the page
// was reached from the page after it, and on from the page before it.
func newListPage[T any, K comparable](rows []T, limit int, back, on bool, key func(T) K) listPage[T, K] {
	more := len(rows) == limit
	page := listPage[T, K]{Rows: rows}
	switch {
	case more && back:
		page.Rows = rows[1:]
	case more:
		page.Rows = rows[:len(rows)-1]
	}
	if len(page.Rows) == 0 {
		return page
	}
	if on || back && more {
		page.Newer = key(page.Rows[0])
	}
	if back || more {
		page.Older = key(page.Rows[len(page.Rows)-1])
	}
	return page
}
