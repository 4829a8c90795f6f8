package webui

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// filterText is the longest value of a filter, in characters.
const filterText = 1000

// readFields reads the values of a filter from an address or a form. The error says which one is not a text.
func readFields(form url.Values, names []string, field func(name string) *string) error {
	for _, name := range names {
		value := strings.TrimSpace(form.Get(name))
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) || utf8.RuneCountInString(value) > filterText {
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

// queryOf returns the values of a filter as a query, beginning with ? if there is one. more are further pairs.
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
