package dbsession

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// onlyAtStart are settings that a server accepts only in the startup packet.
var onlyAtStart = []string{
	"ignore_system_indexes", "jit_debugging_support", "jit_profiling_support", "log_connections", "log_disconnections",
	"post_auth_delay",
}

// strip leaves in a startup packet what poolers accept, and returns the other settings that the address asks for. The name of
// the application and the settings of onlyAtStart stay.
func strip(params map[string]string) (address []setting) {
	var asked []setting
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if name == "options" {
			asked = append(asked, parseOptions(params[name])...)
		} else {
			asked = append(asked, setting{name, params[name]})
		}
	}
	clear(params)
	for _, s := range asked {
		named := func(name string) bool { return strings.EqualFold(name, s.name) }
		switch {
		case named("application_name"), slices.ContainsFunc(onlyAtStart, named):
			params[s.name] = s.value
		case !slices.ContainsFunc(packet, func(p setting) bool { return named(p.name) }):
			address = append(address, s)
		}
	}
	for _, s := range packet {
		params[s.name] = s.value
	}
	return address
}

var (
	optionWord = regexp.MustCompile(`(?s)(?:\\.|[^ \t\n\r\v\f])+`) // a backslash keeps the next character
	escape     = regexp.MustCompile(`(?s)\\(.?)`)
)

// parseOptions returns the settings of command-line options as the server reads them: "-c name=value", "-cname=value" and
// "--name=value". Dashes in a name stand for underscores. Other options only apply to the server itself.
func parseOptions(options string) (found []setting) {
	words := optionWord.FindAllString(options, -1)
	for i, word := range words {
		words[i] = escape.ReplaceAllString(word, "$1")
	}
	for i := 0; i < len(words); i++ {
		text, ok := strings.CutPrefix(words[i], "--")
		if !ok {
			if text, ok = strings.CutPrefix(words[i], "-c"); !ok {
				continue
			}
			if text == "" && i+1 < len(words) {
				i++
				text = words[i]
			}
		}
		if name, value, ok := strings.Cut(text, "="); ok {
			found = append(found, setting{strings.ReplaceAll(strings.TrimSpace(name), "-", "_"), value})
		}
	}
	return found
}
