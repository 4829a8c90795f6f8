package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/internal/retry"
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of everything on one screen",
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
					return a.watchStatus(ctx, pool)
				})
			}
			return query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) (status.Status, error) {
				return status.Read(ctx, pool)
			}, writeStatus)(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "refresh every second until Ctrl-C; with --json, one line per refresh")
	return a.withJSON(cmd)
}

// The alternate screen, as in less and top, leaves the lines and the scrollback of the terminal as they were.
const (
	enterScreen = "\x1b[?1049h"
	leaveScreen = "\x1b[?1049l"
	clearScreen = "\x1b[H\x1b[2J"
)

// watchStatus shows the state until ctx ends. It fails if the first read does. If a later read fails, it says so, keeps the
// last values on the screen, and tries again.
func (a *app) watchStatus(ctx context.Context, pool *pgxpool.Pool) error {
	now, err := readStatus(ctx, pool)
	if err != nil {
		return err
	}
	onTerminal := isTerminal(a.stdout.w) && !a.json
	if onTerminal {
		if _, err := a.stdout.Write([]byte(enterScreen)); err != nil {
			return err
		}
		defer func() { _, _ = a.stdout.Write([]byte(leaveScreen)) }() // the terminal may be closed
	}
	var last status.Status
	for first := true; ; first = false {
		began := time.Now()
		if err == nil {
			last = now
		}
		if err := a.showStatus(last, err, onTerminal, first); err != nil {
			return err
		}
		if !retry.Pause(ctx, max(watchEvery, (watchShare-1)*time.Since(began))) {
			return nil
		}
		now, err = readStatus(ctx, pool)
		if ctx.Err() != nil {
			return nil
		}
	}
}

func readStatus(ctx context.Context, pool *pgxpool.Pool) (status.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, quickly)
	defer cancel()
	return status.Read(ctx, pool)
}

// showStatus shows what the last read that worked returned. failed is the error of a later read.
func (a *app) showStatus(last status.Status, failed error, onTerminal, first bool) error {
	if failed != nil && !onTerminal {
		fmt.Fprintln(a.stderr, "iuworker: "+sentence(failed))
		return nil
	}
	if a.json {
		line, err := json.Marshal(last)
		if err != nil {
			return fmt.Errorf("write the state as JSON: %w", err)
		}
		_, err = a.stdout.Write(append(line, '\n'))
		return err
	}
	return a.print(last, func(w io.Writer) {
		switch {
		case onTerminal:
			fmt.Fprint(w, clearScreen)
		case !first:
			fmt.Fprintln(w)
		}
		if failed != nil {
			fmt.Fprintf(w, "no data since %s: %s\n\n", last.At.Format(time.TimeOnly), sentence(failed))
		}
		writeStatus(w, last)
	})
}

// ago returns how long before now something was.
func ago(now, then time.Time) string { return short(max(now.Sub(then), 0)) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// short returns a length of time in one or two units.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return formatDuration(d.Round(100 * time.Millisecond))
	case d < day:
		return formatDuration(d.Round(time.Second))
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}
