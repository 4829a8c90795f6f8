package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/scaleout"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/jobs"
)

func (a *app) scaleoutStatusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:               "status PREFIX",
		Short:             "Show the progress of a scale-out",
		Args:              onePrefix,
		ValidArgsFunction: a.completes(scaleout.Prefixes),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onDatabase(cmd, 0, func(ctx context.Context, pool *pgxpool.Pool) error {
				state, err := scaleout.Read(ctx, pool, args[0])
				if err != nil {
					return err
				}
				if watch && state.Unfinished() > 0 {
					return a.watchToTheEnd(ctx, pool, state)
				}
				return a.print(state, func(w io.Writer) { writeScaleout(w, state) })
			})
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "keep showing the progress until everything is composed; Ctrl-C does not stop the jobs")
	return a.withJSON(cmd)
}

// watchToTheEnd shows the progress of a scale-out until none of its jobs is left, then its state. The jobs continue if ctx ends
// before.
func (a *app) watchToTheEnd(ctx context.Context, pool *pgxpool.Pool, state scaleout.Status) error {
	total := state.Composed + state.Unfinished() + state.DeadLetters
	err := a.watchScaleout(ctx, pool, state.Prefix, total)
	if ctx.Err() != nil {
		fmt.Fprintf(a.stderr, "the jobs continue; to watch them again, run: iuworker scaleout status --watch %s\n", shellWord(state.Prefix))
		return nil //nolint:nilerr // the user stopped watching
	}
	if err != nil {
		return err
	}
	if state, err = scaleout.Read(ctx, pool, state.Prefix); err != nil {
		return err
	}
	if err := a.print(state, func(w io.Writer) { writeScaleout(w, state) }); err != nil {
		return err
	}
	if state.DeadLetters > 0 {
		return fmt.Errorf("%d jobs of the scale-out %q ended as dead letters; to see why, run: iuworker dead-letters list", state.DeadLetters, state.Prefix)
	}
	return nil
}

func writeScaleout(w io.Writer, s scaleout.Status) {
	columns(w, func(w io.Writer) {
		fmt.Fprintf(w, "composed\t%d\n", s.Composed)
		for _, some := range []struct {
			what string
			n    int64
			more string
		}{
			{"waiting", s.Waiting, ""}, {"running", s.Running, ""}, {"to be retried", s.Retrying, ""},
			{"parked", s.Parked, "; to see for which gate, run: iuworker status"}, {"back in the outbox", s.Outbox, ""},
			{"dead letters", s.DeadLetters, "; to see why, run: iuworker dead-letters list"},
		} {
			if some.n > 0 {
				fmt.Fprintf(w, "%s\t%d%s\n", some.what, some.n, some.more)
			}
		}
		if s.QueuePaused {
			fmt.Fprintln(w, "queue\tpaused; to resume it, run: iuworker scaleout resume")
		}
	})
}

func (a *app) scaleoutPauseCommand(name string, pause bool) *cobra.Command {
	var all bool
	short, says := "Pause all scale-outs: no job in their queue starts", "all scale-outs are paused; to resume them, run: iuworker scaleout resume"
	if !pause {
		short, says = "Resume all scale-outs", "all scale-outs are resumed"
	}
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, "%s takes no argument: it is for all scale-outs at once; to stop one, run: iuworker scaleout cancel %s",
					spoken(cmd), shellWord(args[0]))
			}
			return nil
		},
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) (map[string]any, error) {
			return map[string]any{"queue": jobs.QueueScaleout, "paused": pause}, operator(pool, "").PauseQueue(ctx, jobs.QueueScaleout, pause)
		}, func(w io.Writer, _ map[string]any) { fmt.Fprintln(w, says) }),
	}
	cmd.Flags().BoolVar(&all, "all", false, "all scale-outs, as without this flag: they share one queue")
	return a.withJSON(cmd)
}

func (a *app) scaleoutCancelCommand() *cobra.Command {
	var agreed confirmation
	cmd := &cobra.Command{
		Use:   "cancel PREFIX",
		Short: "Cancel the jobs of a scale-out that have not run yet",
		Long: `Cancels the jobs of a scale-out that have not run yet. They leave no dead letters, and starting the same scale-out again
adds them again. Instances that were composed stay; a rollback of the actor removes them.`,
		Args:              onePrefix,
		ValidArgsFunction: a.completes(scaleout.Prefixes),
		RunE: changes(a, &agreed, func(ctx context.Context, pool *pgxpool.Pool, args []string) (stake, error) {
			n, err := scaleout.CountCancellable(ctx, pool, args[0])
			return stake{count: n, what: fmt.Sprintf("jobs of the scale-out %q", args[0]), done: "cancelled"}, err
		}, func(ctx context.Context, by operate.Operator, args []string, most int64) (operate.Cancelled, error) {
			return scaleout.Cancel(ctx, by, args[0], most)
		}, func(w io.Writer, done operate.Cancelled) {
			writeCancelled(w, done, "were already running and will finish")
		}),
	}
	agreed.registerYes(cmd, "jobs")
	return a.withJSON(cmd)
}

var onePrefix = oneArgument("the prefix of a scale-out", "prefix", func(cmd *cobra.Command, prefix string) error {
	if err := checkText(prefix, prefixMax); err != nil {
		return usage(cmd, "the prefix is %s: %v", quoted(prefix), err)
	}
	return nil
})

// shellWord quotes a word for a POSIX shell if necessary.
func shellWord(word string) string {
	if word != "" && strings.IndexFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._/:=@%+,-", r)
	}) < 0 {
		return word
	}
	return shellQuoted(word)
}

const (
	watchEvery = time.Second
	watchShare = 5 // reading takes at most this part of the time: one fifth
)

// watched shows the progress of a scale-out: a bar on a terminal, elsewhere a line for each change.
type watched struct {
	total    int64
	began    time.Time
	atBegin  int64
	bar      *progressbar.ProgressBar
	w        io.Writer
	lastText string
}

// watchScaleout shows the progress of a scale-out until none of its total jobs is left.
func (a *app) watchScaleout(ctx context.Context, pool *pgxpool.Pool, prefix string, total int64) error {
	shown := &watched{total: total, began: time.Now(), atBegin: -1, w: a.stderr}
	if isTerminal(a.stderr) {
		shown.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionShowCount(), progressbar.OptionSetWidth(16),
			progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true))
		defer func() { _ = shown.bar.Clear() }() // a terminal that cannot be written to shows nothing anyway
	}
	for {
		began := time.Now()
		left, err := scaleout.ReadLeft(ctx, pool, prefix)
		if err != nil {
			return err
		}
		shown.show(left, time.Now())
		if left.Unfinished() == 0 {
			return nil
		}
		if !retry.Pause(ctx, max(watchEvery, (watchShare-1)*time.Since(began))) {
			return fmt.Errorf("watch the scale-out: %w", ctx.Err())
		}
	}
}

func (s *watched) show(left scaleout.Left, now time.Time) {
	composed := max(s.total-left.Unfinished()-left.DeadLetters, 0)
	if s.atBegin < 0 {
		s.atBegin = composed
	}
	text := progressText(left, rateOf(composed-s.atBegin, now.Sub(s.began)))
	if s.bar != nil {
		s.bar.Describe(text)
		_ = s.bar.Set64(min(composed, s.total)) // a terminal that cannot be written to shows nothing anyway
		return
	}
	line := fmt.Sprintf("composed %d of %d, %s", composed, s.total, text)
	if line != s.lastText {
		fmt.Fprintln(s.w, line)
	}
	s.lastText = line
}

// rateOf returns n per second; 0 if it is too early to know.
func rateOf(n int64, in time.Duration) float64 {
	if n <= 0 || in < watchEvery/2 {
		return 0
	}
	return float64(n) / in.Seconds()
}

// progressText returns what a bar does not show.
func progressText(left scaleout.Left, rate float64) string {
	parts := []string{fmt.Sprintf("%d left", left.Unfinished())}
	if rate > 0 && left.Unfinished() > 0 {
		parts = append(parts, fmt.Sprintf("%.0f/s", rate),
			"about "+short(seconds(float64(left.Unfinished())/rate))+" to go")
	}
	for _, some := range []struct {
		n    int64
		what string
	}{{left.DeadLetters, "failed"}, {left.Retrying, "to be retried"}, {left.Parked, "parked"}} {
		if some.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", some.n, some.what))
		}
	}
	if left.QueuePaused {
		parts = append(parts, "paused")
	}
	return strings.Join(parts, ", ")
}
