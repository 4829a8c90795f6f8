package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/worker/listen"
	"github.com/iu-core/iuworker/worker/operate"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of everything on one screen",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
					return a.watchStatus(ctx, pool, asJSON)
				})
			}
			return a.onDatabase(cmd, quickly, func(ctx context.Context, pool *pgxpool.Pool) error {
				status, err := operate.ReadStatus(ctx, pool)
				if err != nil {
					return err
				}
				return a.print(asJSON, status, func(w io.Writer) {
					columns(w, func(w io.Writer) { writeStatus(w, status) })
				})
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again each second until Ctrl-C; with --json a line a reading")
	return cmd
}

// The alternate screen leaves the terminal's own lines and its scrollback as they were, as in less and top.
const (
	enterScreen = "\x1b[?1049h"
	leaveScreen = "\x1b[?1049l"
	clearScreen = "\x1b[H\x1b[2J"
)

// watchStatus shows the state until ctx ends. The first read must work; a later one that fails is reported and tried again,
// with the last values still on the screen.
func (a *app) watchStatus(ctx context.Context, pool *pgxpool.Pool, asJSON bool) error {
	var w statusWatch
	status, err := readStatus(ctx, pool)
	if err != nil {
		return err
	}
	if w.terminal = isTerminal(a.stdout.w) && !asJSON; w.terminal {
		if _, err := a.stdout.Write([]byte(enterScreen)); err != nil {
			return err
		}
		defer func() { _, _ = a.stdout.Write([]byte(leaveScreen)) }() // the terminal may be gone
	}
	for {
		began := time.Now()
		if err == nil {
			w.last, w.failed = status, nil
		} else {
			w.failed = err
		}
		if err := a.showStatus(&w, asJSON); err != nil {
			return err
		}
		if !listen.Pause(ctx, max(watchEvery, (watchShare-1)*time.Since(began))) {
			return nil
		}
		status, err = readStatus(ctx, pool)
		if ctx.Err() != nil { // the user has seen enough
			return nil
		}
	}
}

// statusWatch is what status --watch shows.
type statusWatch struct {
	terminal bool
	shown    bool
	last     operate.Status
	failed   error // of the last read; nil if it worked
}

func readStatus(ctx context.Context, pool *pgxpool.Pool) (operate.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, quickly)
	defer cancel()
	return operate.ReadStatus(ctx, pool)
}

func (a *app) showStatus(watch *statusWatch, asJSON bool) error {
	if watch.failed != nil && !watch.terminal {
		fmt.Fprintln(a.stderr, "iuworker: "+sentence(watch.failed))
		return nil
	}
	status := watch.last
	if asJSON {
		line, err := json.Marshal(status)
		if err != nil {
			return fmt.Errorf("write the state as JSON: %w", err)
		}
		_, err = a.stdout.Write(append(line, '\n'))
		return err
	}
	defer func() { watch.shown = true }()
	return a.print(false, status, func(w io.Writer) {
		switch {
		case watch.terminal:
			fmt.Fprint(w, clearScreen)
		case watch.shown:
			fmt.Fprintln(w)
		}
		if watch.failed != nil {
			fmt.Fprintf(w, "no data since %s: %s\n\n", status.At.Format(time.TimeOnly), sentence(watch.failed))
		}
		columns(w, func(w io.Writer) {
			fmt.Fprintf(w, "at\t%s\n", status.At.Format(time.RFC3339))
			writeStatus(w, status)
		})
	})
}

func writeStatus(w io.Writer, s operate.Status) {
	fmt.Fprintf(w, "database\t%s, PostgreSQL %s, schema %d\n", s.Database, s.Server, s.Schema.Version)
	for _, gate := range s.Gates {
		fmt.Fprintf(w, "gate %s\t%s\n", gate.Gate, openOrClosed(gate.Open))
	}
	fmt.Fprintf(w, "outbox\t%s\n", backlog(s.Outbox, s.At))
	if len(s.Jobs) == 0 {
		fmt.Fprintln(w, "jobs\tnone")
	}
	for _, count := range s.Jobs {
		fmt.Fprintf(w, "jobs %s %s\t%s\n", count.Queue, count.State, count.Count)
	}
	for _, count := range s.Parked {
		fmt.Fprintf(w, "jobs parked\t%s wait for the gate %s; to open it, run: %s\n", count.Count, count.Gate, count.Gate.OpenCommand())
	}
	for _, count := range s.Held {
		fmt.Fprintf(w, "jobs held back\t%s: %s\n", count.Count, count.Reason)
	}
	if len(s.DeadLetters) == 0 {
		fmt.Fprintln(w, "dead letters\tnone")
	}
	for _, count := range s.DeadLetters {
		fmt.Fprintf(w, "dead letters %s\t%s\n", count.Status, count.Count)
	}
	writeEmissions(w, s)
	for _, consumer := range s.Consumers {
		fmt.Fprintf(w, "consumer %s\t%s\n", oneLine(&consumer.Name), consumerState(consumer))
	}
	writeWorkers(w, s)
}

func writeEmissions(w io.Writer, s operate.Status) {
	fmt.Fprintf(w, "emissions\tat %s-%d", s.Emissions.Epoch, s.Emissions.LastPosition)
	if at := s.Emissions.LastEmittedAt; at != nil {
		fmt.Fprintf(w, ", the last %s ago", ago(s.At, *at))
	}
	fmt.Fprintf(w, "\nemissions waiting\t%s", backlog(s.Emissions.Waiting, s.At))
	if s.Emissions.Held {
		fmt.Fprint(w, ", held back: the registry row iu.template.instance_auto_composed is not active")
	}
	fmt.Fprintln(w)
}

func writeWorkers(w io.Writer, s operate.Status) {
	if len(s.Workers) == 0 {
		fmt.Fprintln(w, "workers\tnone; to start one, run: iuworker work")
	}
	for _, worker := range s.Workers {
		state := "alive"
		if !worker.Alive {
			state = "silent for " + ago(s.At, worker.SeenAt)
		}
		fmt.Fprintf(w, "worker %s\t%s, version %s, up %s\n", worker.ID, state, worker.Version, ago(s.At, worker.StartedAt))
	}
}

func consumerState(c operate.ConsumerStatus) string {
	state := fmt.Sprintf("at %s-%d", c.Epoch, c.Position)
	if c.Lag != nil && c.LagSeconds != nil {
		state += fmt.Sprintf(", %d behind", *c.Lag)
		if *c.Lag > 0 {
			state += " for " + short(time.Duration(*c.LagSeconds*float64(time.Second)))
		}
	} else {
		state += ", which is " + c.State
	}
	if c.Process == nil {
		state += ", nobody works for it"
	}
	if c.DeadLetters > 0 {
		state += fmt.Sprintf(", %d dead letters", c.DeadLetters)
	}
	return state
}

func backlog(b operate.Backlog, now time.Time) string {
	if b.OldestAt == nil {
		return "empty"
	}
	return fmt.Sprintf("%s, the oldest for %s", b.Count, ago(now, *b.OldestAt))
}

// ago answers how long ago something was.
func ago(now, then time.Time) string { return short(max(now.Sub(then), 0)) }

// short writes a length of time in one or two units.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < day:
		return formatDuration(d.Round(time.Second))
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}
