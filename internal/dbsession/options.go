package dbsession

import (
	"maps"
	"slices"
	"strings"
)

// onlyAtStart are settings that a server takes in the startup packet and never later.
var onlyAtStart = []string{
	"ignore_system_indexes", "jit_debugging_support", "jit_profiling_support", "log_connections", "log_disconnections",
	"post_auth_delay",
}

// settle leaves in a startup packet what poolers know of, and returns the settings that the address asked for besides. An
// application's name and what can only be set at the start stay as they are.
func settle(params map[string]string) (address []setting) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		switch {
		case strings.EqualFold(name, "application_name"), contains(onlyAtStart, name):
			continue
		case name == "options":
			for _, s := range parseOptions(value) {
				if contains(onlyAtStart, s.name) {
					params[s.name] = s.value
					continue
				}
				address = append(address, s)
			}
		default:
			address = append(address, setting{name, value})
		}
		delete(params, name)
	}
	address = slices.DeleteFunc(address, func(s setting) bool {
		return slices.ContainsFunc(packet, func(p setting) bool { return strings.EqualFold(p.name, s.name) })
	})
	for _, s := range packet {
		params[s.name] = s.value
	}
	return address
}

func contains(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// parseOptions reads the settings out of command-line options, as the server does: "-c name=value", "-cname=value" and
// "--name=value", where a backslash keeps the next character, and dashes in a name stand for underscores. Other options
// are for a server's own start.
func parseOptions(options string) (found []setting) {
	words := split(options)
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

// split splits at white space that no backslash precedes.
func split(text string) (words []string) {
	var word strings.Builder
	begun, kept := false, false
	for _, r := range text {
		switch {
		case kept:
			word.WriteRune(r)
			kept = false
		case r == '\\':
			kept, begun = true, true
		case strings.ContainsRune(" \t\n\r\v\f", r):
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}
