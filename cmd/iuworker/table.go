package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// page collects a result, and knows what it will be shown on.
type page struct {
	bytes.Buffer
	width  int  // of the terminal, in characters; 0: no limit
	colour bool // the terminal shows colours
}

// page returns an empty page for stdout. A file or a pipe has no width and no colours.
func (a *app) page() *page {
	file, ok := a.stdout.w.(*os.File)
	if !ok || !isTerminal(file) {
		return &page{}
	}
	width, _, _ := term.GetSize(int(file.Fd())) // 0 if it is not known
	return &page{width: width, colour: colourful(a.getenv)}
}

// colourful reports whether the user allows colours: see no-color.org.
func colourful(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// stateColours maps the names of states to their colours.
var stateColours = map[string]string{
	"ok": "32", "open": "32", "alive": "32", "PASS": "32",
	"warn": "33", "closed": "33", "paused": "33", "silent": "33", "inactive": "33", "behind": "33",
	"fail": "31", "FAIL": "31", "WRONG": "31", "lost": "31", "dead": "31",
	"skipped": "2",
}

// state colours the name of a state, if w shows colours.
func state(w io.Writer, word string) string { return stateAs(w, word, word) }

// stateAs colours text as state colours word.
func stateAs(w io.Writer, word, text string) string {
	to, ok := w.(*page)
	if !ok || !to.colour || stateColours[word] == "" {
		return text
	}
	return "\x1b[" + stateColours[word] + "m" + text + "\x1b[0m"
}

func bold(w io.Writer, text string) string {
	if to, ok := w.(*page); ok && to.colour {
		return "\x1b[1m" + text + "\x1b[0m"
	}
	return text
}

const (
	tableGap   = "  "
	leastWidth = 8 // of a column that is shortened to fit a terminal
)

// columns writes lines, whose cells are separated by tabs, as a table. It shortens cells to fit the width of a terminal.
func columns(w io.Writer, lines func(io.Writer)) {
	inner := &page{}
	if to, ok := w.(*page); ok {
		inner.width, inner.colour = to.width, to.colour
	}
	lines(inner)
	var rows [][]string
	var widths []int
	for line := range strings.Lines(inner.String()) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		rows = append(rows, cells)
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], shown(cell))
		}
	}
	fit(widths, inner.width)
	for _, cells := range rows {
		var line strings.Builder
		for i, cell := range cells {
			if i > 0 {
				line.WriteString(tableGap)
			}
			if shown(cell) > widths[i] {
				cell = cut(cell, widths[i])
			}
			line.WriteString(cell)
			if i < len(cells)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-shown(cell)))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// table writes rows as lines of columns below a heading. Without rows it writes none instead.
func table[T any](w io.Writer, rows []T, none, heading string, row func(w io.Writer, r T)) {
	if len(rows) == 0 {
		fmt.Fprintln(w, none)
		return
	}
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, heading)
		for _, r := range rows {
			row(w, r)
		}
	})
}

// fit makes the widest columns narrower until the table fits; 0 is no limit.
func fit(widths []int, limit int) {
	if limit == 0 {
		return
	}
	total := (len(widths) - 1) * len(tableGap)
	for _, width := range widths {
		total += width
	}
	for ; total > limit; total-- {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= leastWidth {
			return
		}
		widths[widest]--
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// shown returns how many characters of a text a terminal shows.
func shown(text string) int { return utf8.RuneCountInString(escapes.ReplaceAllString(text, "")) }

// cut shortens a text to a number of characters, without its colour.
func cut(text string, width int) string {
	runes := []rune(escapes.ReplaceAllString(text, ""))
	return string(runes[:max(width-1, 0)]) + "…"
}
