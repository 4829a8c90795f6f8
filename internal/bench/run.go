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
	report *Report
}

// ErrInterrupted means that Run's context ended.
var ErrInterrupted = errors.New("interrupted; the scratch database is deleted, and no measurement is complete")

// Run measures. It drops the scratch databases before it returns, also if ctx ends or something fails. Do not run two at once on
// one server: they would measure each other.
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
	if b.main, err = createScratch(ctx, cfg.Server, cfg.Logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() != nil {
			report, err = nil, ErrInterrupted
		}
		err = errors.Join(err, b.main.drop(ctx))
	}()
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	if err := b.groups(ctx); err != nil {
		return nil, err
	}
	b.report.Seconds = time.Since(b.report.StartedAt).Seconds()
	b.report.weigh(loadAverage())
	return b.report, nil
}

func (b *bench) groups(ctx context.Context) error {
	run := map[string]func(context.Context) error{
		groupThroughput: b.throughput,
		groupGrowth:     b.growth,
		groupLatency:    b.latency,
		groupScaleout:   b.scaleout,
		groupFanout:     b.fanout,
		groupIdle:       b.idle,
		groupInserts:    b.inserts,
	}
	for _, name := range Groups() {
		if !slices.Contains(b.cfg.Only, name) {
			continue
		}
		if err := run[name](ctx); err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
	}
	return nil
}

// begin notes the programs, the machine and the settings of the run.
func (b *bench) begin(ctx context.Context) error {
	b.report = &Report{
		Program: iusql.ProgramVersion, CPUs: runtime.NumCPU(), StartedAt: time.Now(), Settings: map[string]string{},
		Events: b.cfg.Sizes.Events, Repetitions: b.cfg.Sizes.Repetitions,
	}
	for _, name := range []string{
		"server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "wal_level",
	} {
		var value string
		if err := b.main.pool.QueryRow(ctx, "SELECT pg_catalog.current_setting($1)", name).Scan(&value); err != nil {
			return fmt.Errorf("read the setting %s: %w", name, err)
		}
		b.report.Settings[name] = value
	}
	b.report.Postgres = b.report.Settings["server_version"]
	var err error
	if b.meter.postmaster, err = b.main.postmaster(ctx); err != nil {
		return err
	}
	left, err := b.main.leftovers(ctx)
	if left != "" {
		b.report.Notes = append(b.report.Notes, left)
	}
	return err
}

// alternate repeats measurements one after the other, beginning with another one each time, so that all of them meet the same
// machine. Between two of them it calls settle.
func (b *bench) alternate(
	ctx context.Context, repetitions int, what string, settle func(context.Context) error, measurements ...func(repetition int) error,
) error {
	for i := range repetitions {
		b.step("%s, %d of %d", what, i+1, repetitions)
		for n := range measurements {
			if err := measurements[(i+n)%len(measurements)](i); err != nil {
				return err
			}
			if err := settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// asItIs leaves the database as it is between two measurements.
func asItIs(context.Context) error { return nil }

func (b *bench) add(measures ...Measure) { b.report.Measures = append(b.report.Measures, measures...) }

func (b *bench) step(format string, args ...any) { b.cfg.Progress(fmt.Sprintf(format, args...)) }
