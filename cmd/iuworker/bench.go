package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/bench"
	"github.com/iu-core/iuworker/internal/pgserver"
)

type benchFlags struct {
	cfg                 bench.Config
	work                workFlags
	quick               bool
	repetitions, events int
	history             int
	only, svg           string
	json                string // benchStdout, a file, or "" for no JSON
}

func (f *benchFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	full, quick := bench.Full(), bench.Quick()
	sizes := func(of func(bench.Sizes) int) string {
		return fmt.Sprintf(" (default %d, quick: %d)", of(full), of(quick))
	}
	flags.BoolVar(&f.quick, "quick", false, "run for some minutes only: finds what broke, too short for comparisons")
	flags.Var(intValue(&f.repetitions, 1, 100), "repetitions", "repetitions of each measurement"+sizes(func(s bench.Sizes) int { return s.Repetitions }))
	flags.Var(intValue(&f.events, 1, 1_000_000), "events", "events per measurement of the throughput"+sizes(func(s bench.Sizes) int { return s.Events }))
	flags.BoolVar(&f.cfg.Growth, "growth", false, "measure growth, too: makes a million events, takes many minutes and 5 GB of disk")
	flags.Var(intValue(&f.history, 1, 10_000_000), "history", "events that growth makes"+sizes(func(s bench.Sizes) int { return s.History }))
	flags.Var(textValue(&f.only, 200), "only", "groups to measure, separated by commas: "+strings.Join(bench.Groups(), ", ")+" (default all, without growth)")
	flags.Var(benchJSON(&f.json), "json", "print the result as JSON; --json=FILE also writes it to a file")
	flags.Lookup("json").NoOptDefVal = "true" // alone, it prints
	flags.Var(textValue(&f.svg, pathMax), "svg", "with --growth: write a chart of the rate to this file")

	f.work = defaultWorkFlags() // what users run is what is measured
	f.work.register(cmd, ofBench)
	flags.Var(textValue(&f.cfg.Pgbench, pathMax), "pgbench", "path of pgbench (default next to the server's binaries, else on PATH)")
}

// config returns the configuration; a group that does not exist is wrong usage.
func (f *benchFlags) config(cmd *cobra.Command) (bench.Config, error) {
	cfg := f.cfg
	cfg.Worker, cfg.PoolSize, cfg.Sizes = f.work.worker, f.work.poolSize, bench.Full()
	if f.quick {
		cfg.Sizes = bench.Quick()
	}
	cfg.Sizes.Repetitions = cmp.Or(f.repetitions, cfg.Sizes.Repetitions)
	cfg.Sizes.Events = cmp.Or(f.events, cfg.Sizes.Events)
	cfg.Sizes.History = cmp.Or(f.history, cfg.Sizes.History)
	if f.only == "" {
		return cfg, nil
	}
	for name := range strings.SplitSeq(f.only, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(bench.Groups(), name) {
			return cfg, usage(cmd, "--only names %s, which is none of %s", quoted(name), strings.Join(bench.Groups(), ", "))
		}
		cfg.Only = append(cfg.Only, name)
	}
	return cfg, nil
}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Benchmark the worker against plain PostgreSQL",
		Long: `Creates a database iuworker_bench_<random>, measures in it, and drops it, even after Ctrl-C. A run that was killed
leaves its database to the next one. No other database is touched.
Without a database address (--database-url, IUWORKER_DATABASE_URL or DATABASE_URL) it starts a PostgreSQL of its own, with
fsync on. The login must be allowed to create databases. The server is under full load meanwhile.

What is compared, alternately and in one run, so that ratios also hold on a machine that is busy with other work:
  drain       jobs that are in River already, until instances are committed and jobs completed, against pgbench with 32
              clients that call the same function on the same database, one call per transaction, as dry runs; and against
              4 clients that make 500 such calls in one statement
  pipeline    outbox rows, until instances are committed, jobs completed and events announced, against the same; and by
              function: with --compose-by function, as on a core that was adopted
  costs       CPU of the server and of the worker (Linux, server on this machine) and WAL per event, of each of these,
              from the commit of the rows or jobs until they are done
  latency     commit of an outbox row to NOTIFY at a subscriber, 20 events per second, against a bare River tuned to a
              FetchCooldown of 1 ms, whose job composes and notifies; and against one whose job only notifies
  scaleout    the same while a scale-out of a million jobs is enqueued and composed, against the same without it
  fanout      the same until the last of many subscribers has the event, against one subscriber
  idle        CPU of the worker and of the server while nothing happens (Linux, server on this machine)
  inserts     rows into the outbox by 1, 16 and 64 clients, and 1,000 rows per statement, against the same table without
              its trigger; without a worker, beside a busy one, and beside one with --rate 200
  memory      of the worker while it drains (Linux)
  growth      (--growth) pipeline over the last tenth of a million events made without a pause, against the first tenth;
              memory of the worker over them; and drain on that history against a short one

A whole run takes about twenty minutes on two cores, without growth. It needs pgbench, which comes with PostgreSQL.`,
		Example: `  iuworker bench --quick
  iuworker bench --only throughput --repetitions 9 --json=bench.json
  iuworker bench --database-url postgres://bench@127.0.0.1/postgres`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && f.json == benchStdout { // --json FILE
				f.json = args[0]
				return nil
			}
			return noArguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(cmd)
			if err != nil {
				return err
			}
			if f.svg != "" && !cfg.MeasuresGrowth() {
				return usage(cmd, "--svg needs --growth: it draws the rate while the history is created")
			}
			report, err := a.bench(cmd.Context(), cmd, cfg)
			if err != nil {
				return err
			}
			if f.svg != "" {
				if err := writeFile(f.svg, report.WriteSVG); err != nil {
					return fmt.Errorf("draw the rate: %w", err)
				}
			}
			return a.printBench(report, f.json)
		},
	}
	f.register(cmd)
	return cmd
}

// bench runs on the given server, or starts one.
func (a *app) bench(ctx context.Context, cmd *cobra.Command, cfg bench.Config) (_ *bench.Report, failed error) {
	cfg.Logger = a.logger
	cfg.Progress = a.benchProgress()
	from, given := a.source()
	binaries := ""
	if !given { // PG* do not count as given, as for demo
		server, err := a.startServer(ctx, cmd, pgserver.Config{Settings: cfg.ServerSettings()})
		if err != nil {
			return nil, err
		}
		defer func() { failed = errors.Join(failed, server.Stop()) }()
		from, binaries = a.startedServer(server.URL("postgres")), server.BinDir()
	}
	a.ending.allow(benchStop)
	at, err := a.addressesOf(cmd, from)
	if err != nil {
		return nil, err
	}
	cfg.Server = at.pool
	cfg.Server.ConnConfig = at.direct // a pooler does not know the databases that are created
	if cfg.Pgbench == "" {
		if cfg.Pgbench, err = bench.FindPgbench(ctx, binaries); err != nil {
			return nil, err
		}
	}
	return bench.Run(ctx, cfg)
}

// benchProgress returns a function that shows what is measured now, or nil if stderr is not a terminal.
func (a *app) benchProgress() func(step string) {
	if !isTerminal(a.stderr) {
		return nil
	}
	begin := time.Now()
	return func(step string) {
		fmt.Fprintf(a.stderr, "%4.0f s  %s\n", time.Since(begin).Seconds(), step)
	}
}

func (a *app) printBench(report *bench.Report, to string) error {
	if a.json = to == benchStdout; !a.json && to != "" {
		if err := writeFile(to, func(w io.Writer) error { return writeJSON(w, report) }); err != nil {
			return fmt.Errorf("write the result to a file: %w", err)
		}
	}
	return a.print(report, func(w io.Writer) { _ = report.Write(w) }) // w is a buffer
}

func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// benchStdout is where --json writes without a file.
const benchStdout = "-"

// benchJSON is where the JSON goes: nowhere, to stdout, or into a file.
func benchJSON(to *string) *value[string] {
	return &value[string]{to, boolKind, func(text string) (string, error) {
		switch strings.TrimSpace(text) {
		case "":
			return "", errors.New("it must be the name of a file")
		case "true", "1", benchStdout:
			return benchStdout, nil
		case "false", "0":
			return "", nil
		}
		return text, nil
	}, strings.Clone}
}
