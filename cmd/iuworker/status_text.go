package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/jobs"
)

// writeStatus writes the state in sections. Each is a table of its own, so that a long name widens only one.
func writeStatus(w io.Writer, s status.Status) {
	fmt.Fprintf(w, "%s  PostgreSQL %s, schema %d, %s\n", bold(w, flat(s.Database)), serverVersion(s.Server), s.Schema.Version, s.At.UTC().Format(time.RFC3339))
	section(w, "Pipeline", "", func(w io.Writer) { writePipeline(w, s) })
	section(w, "Jobs", total(s.Jobs, func(c status.JobCount) operate.Count { return c.Count }), func(w io.Writer) {
		for _, count := range s.Jobs {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", oneLine(&count.Queue), count.State, count.Count)
		}
		for _, count := range s.Parked {
			fmt.Fprintf(w, "  parked\t%s\t%s\n", count.Gate, count.Count)
		}
		for _, count := range s.Held {
			fmt.Fprintf(w, "  held back\t%s\t%s\n", count.Count, oneLine(&count.Reason))
		}
		for _, queue := range s.Paused {
			fmt.Fprintf(w, "  queue %s\t%s\tfor %s\n", oneLine(&queue.Queue), state(w, "paused"), ago(s.At, queue.Since))
		}
	})
	section(w, "Dead letters", total(s.DeadLetters, func(c status.DeadLetterCount) operate.Count { return c.Count }), func(w io.Writer) {
		for _, count := range s.DeadLetters {
			fmt.Fprintf(w, "  %s\t%s\n", oneLine(&count.Status), count.Count)
		}
	})
	section(w, "Consumers", consumersTotal(s.Consumers), func(w io.Writer) {
		for _, consumer := range s.Consumers {
			fmt.Fprintf(w, "  %s\t%s\n", oneLine(&consumer.Name), consumerState(w, consumer, s.At))
		}
	})
	section(w, "Workers", workersTotal(s.Workers), func(w io.Writer) { writeWorkers(w, s) })
	writeNext(w, s)
}

// serverVersion omits what packagers add: "15.18 (Debian 15.18-1)".
func serverVersion(version string) string {
	version, _, _ = strings.Cut(version, " ")
	return flat(version)
}

// section writes a heading, with a total if there is one, and a table.
func section(w io.Writer, title, total string, rows func(io.Writer)) {
	if total != "" {
		title += ": " + total
	}
	fmt.Fprintf(w, "\n%s\n", bold(w, title))
	columns(w, rows)
}

func writePipeline(w io.Writer, s status.Status) {
	fmt.Fprintf(w, "  outbox\t%s\n", backlog(s.Outbox, s.At))
	for _, gate := range s.Gates {
		fmt.Fprintf(w, "  gate %s\t%s", gate.Gate, state(w, openOrClosed(gate.Open)))
		if !gate.Open && gate.UpdatedBy != nil && gate.UpdatedAt != nil {
			fmt.Fprintf(w, " by %s, %s ago", oneLine(gate.UpdatedBy), ago(s.At, *gate.UpdatedAt))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "  composing\t%s\n", flat(s.Composing.String()))
	fmt.Fprintf(w, "  to announce\t%s", backlog(s.Emissions.Waiting, s.At))
	if s.Emissions.Held {
		fmt.Fprint(w, ", held back: the event type is not active")
	}
	fmt.Fprintf(w, "\n  announced\tup to %s-%d", s.Emissions.Epoch, s.Emissions.LastPosition)
	if at := s.Emissions.LastEmittedAt; at != nil {
		fmt.Fprintf(w, ", the last %s ago", ago(s.At, *at))
	}
	fmt.Fprintln(w)
}

func writeWorkers(w io.Writer, s status.Status) {
	for _, worker := range s.Workers {
		alive := state(w, "alive")
		if !worker.Alive {
			alive = state(w, "silent") + " for " + ago(s.At, worker.SeenAt)
		}
		fmt.Fprintf(w, "  %s\t%s, version %s, up %s\n", oneLine(&worker.ID), alive, worker.Version, ago(s.At, worker.StartedAt))
	}
}

func writeNext(w io.Writer, s status.Status) {
	var commands []string
	for _, gate := range s.Gates {
		parked := slices.ContainsFunc(s.Parked, func(c status.ParkedCount) bool { return c.Gate == gate.Gate })
		if parked && !gate.Open {
			commands = append(commands, gate.Gate.OpenCommand())
		}
	}
	for _, queue := range s.Paused {
		if queue.Queue == jobs.QueueScaleout {
			commands = append(commands, "iuworker scaleout resume")
		}
	}
	if len(s.DeadLetters) > 0 {
		commands = append(commands, "iuworker dead-letters list")
	}
	if slices.ContainsFunc(s.Consumers, func(c status.Consumer) bool { return c.Attention }) {
		commands = append(commands, "iuworker consumers")
	}
	if !slices.ContainsFunc(s.Workers, isAlive) {
		commands = append(commands, "iuworker work")
	}
	writeCommands(w, commands)
}

// total returns the sum of counts, or "none".
func total[T any](counts []T, of func(T) operate.Count) string {
	var sum operate.Count
	for _, count := range counts {
		sum.N, sum.More = sum.N+of(count).N, sum.More || of(count).More
	}
	if sum.N == 0 {
		return "none"
	}
	return sum.String()
}

func consumersTotal(consumers []status.Consumer) string {
	attention := count(consumers, func(c status.Consumer) bool { return c.Attention })
	switch {
	case len(consumers) == 0:
		return "none"
	case attention == 0:
		return fmt.Sprint(len(consumers))
	default:
		return fmt.Sprintf("%d, %s attention", len(consumers), plural(attention, "needs", "need"))
	}
}

func workersTotal(workers []status.Worker) string {
	alive := count(workers, isAlive)
	switch {
	case len(workers) == 0:
		return "none"
	case alive == len(workers):
		return fmt.Sprintf("%d alive", alive)
	default:
		return fmt.Sprintf("%d alive, %d silent", alive, len(workers)-alive)
	}
}

func isAlive(w status.Worker) bool { return w.Alive }

func count[T any](items []T, is func(T) bool) (n int) {
	for _, item := range items {
		if is(item) {
			n++
		}
	}
	return n
}

func consumerState(w io.Writer, c status.Consumer, now time.Time) string {
	var text string
	switch {
	case c.Lag == nil || c.LagSeconds == nil:
		text = state(w, "lost") + ": its position is " + c.State + "; reset it"
	case *c.Lag == 0:
		text = "up to date"
	default:
		text = operate.Thousands(*c.Lag) + " " + state(w, "behind")
		if c.Process != nil {
			text += " for " + short(seconds(*c.LagSeconds))
		}
	}
	if c.Process == nil {
		text += ", no process for " + ago(now, c.ActiveAt)
	}
	if c.DeadLetters > 0 {
		text += fmt.Sprintf(", %s", plural(int(c.DeadLetters), "dead letter", "dead letters"))
	}
	return text
}

func backlog(b status.Backlog, now time.Time) string {
	if b.OldestAt == nil {
		return "empty"
	}
	return fmt.Sprintf("%s, the oldest for %s", b.Count, ago(now, *b.OldestAt))
}
