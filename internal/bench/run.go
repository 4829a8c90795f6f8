package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	iusql "github.com/iu-core/iuworker/sql"
)

// bench is one run.
type bench struct {
	cfg    Config
	main   *scratch
	meter  meter
	bars   map[string]*Bar // of the group that runs
	left   string          // what killed runs left behind
	report *Report
}

// groups are the groups of measures, in the order in which they run, and what their measures must reach.
var groups = []struct {
	name string
	run  func(b *bench, ctx context.Context) error
	bars map[string]*Bar // by the name of the measure
}{
	{"throughput", (*bench).throughput, map[string]*Bar{
		"drain":                    atLeast(2.2, 3),
		"pipeline":                 atLeast(1.8, 2.5),
		"pipeline against batches": atLeast(0.8, 1.1),
		"pipeline by function":     atLeast(1.2, 1.5),
		"pipeline, WAL":            atMost(1.3, 1),
		"memory":                   atMost(100, 0),
	}},
	{"growth", (*bench).growth, map[string]*Bar{
		"growth":               atLeast(0.8, 0.95),
		"drain, long history":  atLeast(0.85, 0.95),
		"memory, long history": atMost(100, 0),
	}},
	{"latency", (*bench).latency, map[string]*Bar{
		"latency, p50": atMost(1, 0.7),
		"latency, p99": atMost(1, 0.7),
	}},
	{"scaleout", (*bench).scaleout, nil},
	{"fanout", (*bench).fanout, nil},
	{"idle", (*bench).idle, map[string]*Bar{
		"idle CPU, worker": atMost(0.5, 0.2),
		"idle CPU, server": atMost(0.5, 0.2),
	}},
	{"inserts", (*bench).inserts, map[string]*Bar{
		"inserts by 1":                  atLeast(0.9, 0.95),
		"inserts by 16":                 atLeast(0.9, 0.95),
		"inserts by 64":                 atLeast(0.9, 0.95),
		"inserts by 16, worker at work": atLeast(0, 0.5),
		"bulk inserts":                  atLeast(0.8, 0.8),
	}},
}

// Groups returns the names that Config.Only takes, in the order in which they run.
func Groups() (names []string) {
	for _, group := range groups {
		names = append(names, group.name)
	}
	return names
}

// ErrInterrupted means that Run's context ended.
var ErrInterrupted = errors.New("interrupted; the scratch database is deleted, and no measurement is complete")

// Run measures. It drops the scratch databases before it returns, also if ctx ends or something fails, and at its begin those of
// runs that were killed. Two runs at once on one
// server would measure each other.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Pgbench == "" {
		cfg.Pgbench, err = FindPgbench(ctx, "")
	} else if _, err = os.Stat(cfg.Pgbench); err != nil {
		err = fmt.Errorf("there is no pgbench at %s: %w", cfg.Pgbench, err)
	}
	if err != nil {
		return nil, err
	}
	b := &bench{cfg: cfg}
	cfg.Progress("create the scratch database")
	defer func() {
		if err == nil || ctx.Err() == nil {
			return
		}
		report = nil
		if left, ok := errors.AsType[*notDroppedError](err); ok {
			err = left
		} else {
			err = ErrInterrupted
		}
	}()
	if b.left, err = b.sweep(ctx); err != nil {
		return nil, err
	}
	if b.main, err = createScratch(ctx, cfg.Server, cfg.Logger); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.main.drop(ctx)) }()
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	for _, group := range groups {
		if !slices.Contains(cfg.Only, group.name) {
			continue
		}
		b.bars = group.bars
		if err := group.run(b, ctx); err != nil {
			return nil, fmt.Errorf("measure %s: %w", group.name, err)
		}
	}
	b.report.Seconds = time.Since(b.report.StartedAt).Seconds()
	b.report.weigh(loadAverage())
	return b.report, nil
}

// begin notes the programs, the machine and the settings of the run.
func (b *bench) begin(ctx context.Context) error {
	b.report = &Report{
		Program: iusql.ProgramVersion, CPUs: runtime.NumCPU(), StartedAt: time.Now(), Settings: map[string]string{},
		Events: b.cfg.Sizes.Events, Repetitions: b.cfg.Sizes.Repetitions,
	}
	for _, name := range []string{
		"server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "wal_level", "wal_compression",
	} {
		var value string
		if err := b.main.read(ctx, "read the setting "+name, []any{&value}, "SELECT pg_catalog.current_setting($1)", name); err != nil {
			return err
		}
		b.report.Settings[name] = value
	}
	b.report.Postgres = b.report.Settings["server_version"]
	var err error
	if b.meter.postmaster, err = b.main.postmaster(ctx); err != nil {
		return err
	}
	if b.left != "" {
		b.note(b.left)
	}
	return nil
}

// alternate repeats measurements one after the other and begins with a different one each time, so that all of them meet the
// same load of the machine. It calls between after each.
func (b *bench) alternate(
	ctx context.Context, repetitions int, what string, between func(context.Context) error, measurements ...func(repetition int) error,
) error {
	for i := range repetitions {
		b.step("%s, %d of %d", what, i+1, repetitions)
		for n := range measurements {
			if err := measurements[(i+n)%len(measurements)](i); err != nil {
				return err
			}
			if err := between(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// asItIs leaves the database as it is between two measurements.
func asItIs(context.Context) error { return nil }

// add adds measures to the report, and judges those that have a bar.
func (b *bench) add(measures ...Measure) {
	for _, m := range measures {
		b.report.Measures = append(b.report.Measures, m.judged(b.bars[m.Name]))
	}
}

func (b *bench) note(text string) { b.report.Notes = append(b.report.Notes, text) }

func (b *bench) step(format string, args ...any) { b.cfg.Progress(fmt.Sprintf(format, args...)) }
