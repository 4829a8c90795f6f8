package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
)

// errResultsClosed ends a command whose reader went away: that is the reader's choice, and no failure.
var errResultsClosed = errors.New("nobody reads the results")

// results is stdout.
type results struct{ w io.Writer }

// Write implements io.Writer; a closed pipe is errResultsClosed.
func (r *results) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return n, errResultsClosed
	}
	if err != nil {
		return n, fmt.Errorf("write the result: %w", err)
	}
	return n, nil
}

// jsonFlag adds --json to a command that prints a result.
func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "print the result as JSON")
}

// print writes a result in one piece: as JSON, or as the text that text makes of it.
func (a *app) print(asJSON bool, result any, text func(io.Writer)) error {
	var b bytes.Buffer
	if asJSON {
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(result); err != nil {
			return fmt.Errorf("write the result as JSON: %w", err)
		}
	} else {
		text(&b)
	}
	_, err := a.stdout.Write(b.Bytes())
	return err
}

// columns writes lines whose cells are separated by tabs as a table.
func columns(w io.Writer, lines func(io.Writer)) {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	lines(table)
	_ = table.Flush() // a Builder does not fail
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

// oneLine makes a text from the database fit a table's cell; nil is "".
func oneLine(text *string) string {
	if text == nil {
		return ""
	}
	line := flat(*text)
	if runes := []rune(line); len(runes) > 120 {
		line = string(runes[:119]) + "…"
	}
	return line
}

// flat makes a text one line that a terminal only shows, however long.
func flat(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, strings.Join(strings.Fields(text), " "))
}
