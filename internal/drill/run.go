package drill

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/iu-core/iuworker/internal/operate/verify"
	"github.com/iu-core/iuworker/internal/retry"
	"github.com/iu-core/iuworker/internal/scratch"
)

const (
	progressEvery = 250 * time.Millisecond
	lookEvery     = 50 * time.Millisecond
	warmUp        = 2 * time.Second // of load before the first fault
	startPatience = time.Minute     // for all processes to start at once, on a busy machine
)

// ErrInterrupted means that Run's context ended.
var ErrInterrupted = errors.New("interrupted; the scratch installation is deleted, and there is no verdict")

// drill is one run.
type drill struct {
	*installation

	report *Report
	begun  time.Time

	mu        sync.Mutex
	progress  Progress
	findings  []Finding
	undone    int64  // instances that the operator rolled back
	failovers []bool // in their order; true: it may have lost commits
}

// randomOf returns the random numbers of one purpose.
func randomOf(seed uint64, purpose string, n int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", purpose, n)
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // a run must repeat
}

// Run makes a scratch installation, breaks it, and judges what became of each event. It returns a report unless the drill itself
// could not be held. Everything that it started is gone when it returns, also if ctx ends; Report.Left names what it keeps.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "iuworker-drill-")
	if err != nil {
		return nil, fmt.Errorf("create the drill's directory: %w", err)
	}
	d := &drill{installation: &installation{cfg: cfg, dir: dir, record: newRecord(consumers + streams)}, report: newReport(cfg)}
	defer func() {
		if ctx.Err() != nil && err != nil {
			report = nil
			if left, ok := errors.AsType[*scratch.NotDroppedError](err); ok {
				err = left
			} else {
				err = ErrInterrupted
			}
		}
		err = d.keep(report, err)
	}()
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	stop := d.showProgress()
	defer stop()
	if cfg.Own == nil {
		d.step("", "drop what killed runs left")
		if d.report.Note, err = scratch.Sweep(ctx, cfg.Server, namePrefix, cfg.Logger); err != nil {
			return nil, err
		}
	}
	d.step("", "create the scratch installation")
	if err := d.install(ctx); err != nil {
		return nil, err
	}
	if err := d.hold(ctx); err != nil {
		return nil, err
	}
	if err := d.judge(ctx); err != nil {
		return nil, err
	}
	return d.report, nil
}

// hold runs the scenarios under load.
func (d *drill) hold(ctx context.Context) error {
	if err := d.pool.QueryRow(ctx, "SHOW server_version").Scan(&d.report.Postgres); err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	d.beginLoad(ctx)
	d.step("", "wait until everything works")
	if !d.pause(ctx, warmUp) {
		return ctx.Err()
	}
	limit := max(d.cfg.Patience, startPatience)
	if _, ok := d.recovered(ctx, time.Now(), limit); !ok {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the installation did not work within %s, before anything was broken", limit)
	}
	d.begun = time.Now()
	d.at(func(p *Progress) { p.begun = d.begun })
	chosen := d.chosen(ctx)
	order := randomOf(d.cfg.Seed, "order", 0)
	for round := 1; len(chosen) > 0; round++ {
		d.at(func(p *Progress) { p.Round, p.Done, p.Scenario = round, 0, "" })
		order.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		for _, s := range chosen {
			if round > 1 && time.Since(d.begun) >= d.cfg.Duration {
				break
			}
			if d.cfg.Duration > 0 && time.Since(d.begun) >= d.cfg.Duration {
				d.report.of(s.name).skip("there was no time left: give more --minutes")
				continue
			}
			if err := d.runScenario(ctx, s, round); err != nil {
				return err
			}
			d.at(func(p *Progress) { p.Done++ })
		}
		if time.Since(d.begun) >= d.cfg.Duration {
			break
		}
	}
	d.report.Seconds = time.Since(d.begun).Seconds()
	return nil
}

// chosen returns the scenarios that can run, and notes why the others cannot.
func (d *drill) chosen(ctx context.Context) (can []scenario) {
	for _, s := range scenarios {
		if len(d.cfg.Only) > 0 && !slices.Contains(d.cfg.Only, s.name) {
			continue
		}
		result := &Result{Scenario: s.name, Verdict: Skipped, Recoveries: []float64{}}
		d.report.Scenarios = append(d.report.Scenarios, result)
		if reason := s.obstacle(ctx, d); reason != "" {
			result.skip(reason)
			continue
		}
		can = append(can, s)
	}
	d.at(func(p *Progress) { p.Of = len(can) })
	return can
}

// runScenario breaks something, mends it, and waits until all that was acknowledged until then is delivered.
func (d *drill) runScenario(ctx context.Context, s scenario, round int) error {
	result := d.report.of(s.name)
	before := d.record.begin(s.name)
	d.step(s.name, "break it")
	err := s.run(ctx, d, randomOf(d.cfg.Seed, s.name, round))
	mended := time.Now()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if skipped, ok := errors.AsType[*skippedError](err); ok {
		result.skip(skipped.reason)
		return nil
	}
	result.Runs++
	if err != nil {
		d.find(Finding{Kind: Stuck, Scenario: s.name, Problem: fmt.Sprintf("round %d: %v", round, err)})
	}
	d.step(s.name, "wait until it has recovered")
	recovery, ok := d.recovered(ctx, mended, d.cfg.Patience)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !ok {
		d.find(Finding{Kind: Stuck, Scenario: s.name, Problem: fmt.Sprintf(
			"round %d: after %s, %d events that were acknowledged before the end of the fault are not delivered (later ones: %t)",
			round, d.cfg.Patience, d.record.pending(mended), d.record.deliversSince(mended))})
	}
	after := d.record.load()
	result.add(recovery, d.record.slowestDelivery(), after.Acknowledged-before.Acknowledged)
	return nil
}

// recovered waits until everything that was acknowledged until a moment has been received by all, and something that was
// acknowledged later, and returns how long that took. It waits no longer than limit.
func (d *drill) recovered(ctx context.Context, until time.Time, limit time.Duration) (took time.Duration, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for d.record.pending(until) > 0 || !d.record.deliversSince(until) {
		if !retry.Pause(ctx, lookEvery) {
			return time.Since(until), false
		}
	}
	return time.Since(until), true
}

// judge ends the load, waits until the installation is quiet, and compares.
func (d *drill) judge(ctx context.Context) error {
	d.record.begin("")
	d.step("", "end the load")
	d.endLoad()
	d.step("", "wait until the installation is quiet")
	if err := d.quiet(ctx); err != nil {
		return err
	}
	d.step("", "audit")
	facts, err := readFacts(ctx, d.pool)
	if err != nil {
		return err
	}
	d.step("", "verify")
	verified, err := verify.Run(ctx, verify.Config{Pool: d.pool})
	if err != nil {
		return err
	}
	d.step("", "stop the installation")
	d.stopProcesses(false)
	audit := audit{facts: facts, record: d.record, subscribers: d.subscribers, undone: d.undone, failovers: d.failovers}
	found := audit.run()
	crashed, err := d.crashes()
	if err != nil {
		return fmt.Errorf("read the logs: %w", err)
	}
	found = append(found, crashed...)
	d.report.Load = d.record.load()
	d.report.conclude(append(d.findings, found...), audit.counts)
	d.report.verified(verified)
	return ctx.Err()
}

// pause waits, and reports whether ctx lasts.
func (d *drill) pause(ctx context.Context, wait time.Duration) bool { return retry.Pause(ctx, wait) }

func (d *drill) find(f Finding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.findings = append(d.findings, f)
}

func (d *drill) at(change func(*Progress)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.progress)
}

func (d *drill) step(scenario, step string) {
	d.at(func(p *Progress) { p.Scenario, p.Step = scenario, step })
}

// showProgress calls Config.Progress until stop.
func (d *drill) showProgress() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var showing sync.WaitGroup
	showing.Go(func() {
		for retry.Pause(ctx, progressEvery) {
			d.mu.Lock()
			now := d.progress
			if !now.begun.IsZero() {
				now.Elapsed = time.Since(now.begun)
			}
			d.mu.Unlock()
			now.Acknowledged, now.Pending = d.record.load().Acknowledged, d.record.pending(time.Now())
			d.cfg.Progress(now)
		}
	})
	return func() {
		cancel()
		showing.Wait()
	}
}

// keep removes the drill's directory, unless the run found something: then it adds what one needs to find the cause.
func (d *drill) keep(report *Report, err error) error {
	_ = os.RemoveAll(filepath.Join(d.dir, "net"))
	if err != nil && !errors.Is(err, ErrInterrupted) && d.load != nil {
		return fmt.Errorf("%w; the logs are in %s", err, d.dir)
	}
	if report == nil || report.Passed || err != nil {
		return errors.Join(err, os.RemoveAll(d.dir))
	}
	if len(report.Findings) == 0 { // all was skipped
		return os.RemoveAll(d.dir)
	}
	report.Left = d.dir
	return report.writeEvidence(d.dir)
}
