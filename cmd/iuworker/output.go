package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// errResultsClosed ends a command whose reader closed the pipe, which is no failure.
var errResultsClosed = errors.New("the results are no longer read")

// results writes to stdout. It waits for a slow reader, but a reader that stopped does not keep the program from ending.
type results struct {
	w         io.Writer
	interrupt <-chan struct{} // closed when the program must end; nil: never

	mu    sync.Mutex
	stuck bool // a write was abandoned
}

// resultsGrace is how long a write may take when the program must end.
const resultsGrace = time.Second

// Write implements io.Writer. It returns errResultsClosed for a closed pipe, and context.Canceled for a write that it
// abandons because the program must end.
func (r *results) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.write(bytes.Clone(p)) // an abandoned write still reads it
	switch {
	case errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe):
		return 0, errResultsClosed
	case err != nil:
		return 0, fmt.Errorf("write the result: %w", err)
	}
	return len(p), nil
}

func (r *results) write(p []byte) error {
	if r.stuck {
		return context.Canceled
	}
	written := make(chan error, 1)
	go func() {
		_, err := r.w.Write(p)
		written <- err
	}()
	select {
	case err := <-written:
		return err
	case <-r.interrupt:
	}
	select {
	case err := <-written:
		return err
	case <-time.After(resultsGrace):
		r.stuck = true
		return context.Canceled
	}
}

// withJSON adds --json to a command that prints a result.
func (a *app) withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print the result as JSON")
	return cmd
}

// print writes a result in one piece: as text, or as JSON with --json.
func (a *app) print(result any, text func(io.Writer)) error {
	b := a.page()
	if !a.json {
		text(b)
	} else if err := writeJSON(b, result); err != nil {
		return err
	}
	_, err := a.stdout.Write(b.Bytes())
	return err
}

func writeJSON(w io.Writer, result any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(result); err != nil {
		return fmt.Errorf("write the result as JSON: %w", err)
	}
	return nil
}

// ifKnown returns a value as text; nil is "".
func ifKnown[T any](value *T, text func(T) string) string {
	if value == nil {
		return ""
	}
	return text(*value)
}

// oneLine returns a text as one line of at most 120 characters, for a cell; nil is "".
func oneLine(text *string) string {
	line := ifKnown(text, flat)
	if runes := []rune(line); len(runes) > 120 {
		line = string(runes[:119]) + "…"
	}
	return line
}

// flat returns a text as one line without characters that control a terminal.
func flat(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, strings.Join(strings.Fields(text), " "))
}
