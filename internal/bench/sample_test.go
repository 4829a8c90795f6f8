package bench

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest/executable"
	scratchdb "github.com/iu-core/iuworker/internal/scratch"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	require.Equal(t, Sample{}, sampleOf(nil))
	require.Equal(t, Sample{Median: 2, Min: 1, Max: 9, Values: []float64{9, 1, 2}}, sampleOf([]float64{9, 1, 2}))
	require.InDelta(t, 2.5, sampleOf([]float64{4, 1, 2, 3}).Median, 0)
	require.InDelta(t, 4, sampleOf([]float64{9, 1, 2}).spread(), 0)
	require.Equal(t, []float64{2, 3}, ratios([]float64{4, 9, 5}, []float64{2, 3}))
	require.Equal(t, []float64{3}, ratios([]float64{4, 9}, []float64{0, 3}))
}

func TestPercentiles(t *testing.T) {
	t.Parallel()
	require.Zero(t, percentile(nil, 50))
	var durations []time.Duration
	for i := 100; i >= 1; i-- {
		durations = append(durations, time.Duration(i)*time.Millisecond)
	}
	require.InDelta(t, 51, percentile(durations, 50), 0)
	require.InDelta(t, 100, percentile(durations, 99), 0)
	require.InDelta(t, 100, percentile(durations, 100), 0)
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	require.Equal(t, VerdictAim, atLeast(1, 1.5).judge(1.5))
	require.Equal(t, VerdictBar, atLeast(1, 1.5).judge(1.2))
	require.Equal(t, VerdictBelow, atLeast(1, 1.5).judge(0.9))
	require.Equal(t, VerdictAim, atMost(3, 2).judge(2))
	require.Equal(t, VerdictBar, atMost(3, 2).judge(2.5))
	require.Equal(t, VerdictBelow, atMost(3, 2).judge(3.1))
	require.Equal(t, VerdictBar, atMost(100, 0).judge(67), "there is no aim")
	require.Equal(t, VerdictBelow, atMost(100, 0).judge(101))
	require.Equal(t, VerdictAim, atLeast(0, 0.5).judge(0.6))
	require.Empty(t, atLeast(0, 0.5).judge(0.4), "there is no bar")
	compared := compare("m", "u", []float64{2, 8}, "r", []float64{4, 4}).judged(atLeast(1, 1.5))
	require.InDelta(t, 1.25, compared.Ratio.Median, 0, "of the ratios, not of the medians")
	require.Equal(t, VerdictBar, compared.Verdict)
}

func TestTheTableSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := Report{Program: "1.2.3", Postgres: "15.1", Events: 5, Repetitions: 2, Measures: []Measure{
		compare("quick", "x/s", []float64{10, 20}, "the slow one", []float64{5, 40}).judged(atLeast(1, 2)),
		measure("alone", "MB", []float64{1234}).judged(atMost(150, 80)),
		measure("told", "MB", []float64{12, 14}).judged(atLeast(0, 20)),
	}, Costs: []Cost{
		{Name: "ours", Rate: sampleOf([]float64{1000, 1200}), Server: &Sample{Median: 733, Values: []float64{733}}, WAL: sampleOf([]float64{7282})},
	}}
	r.weigh("it was busy")
	var out strings.Builder
	require.NoError(t, r.Write(&out))
	require.Regexp(t, `quick +15\.0 \[10\.0\.\.20\.0\] +x/s +22\.5 +1\.25 \[0\.50\.\.2\.00\] +>= 1 +2 +bar`, out.String())
	require.Regexp(t, `alone +1234 +MB +<= 150 +80 +below`, out.String())
	require.Regexp(t, `told +13\.0 \[12\.0\.\.14\.0\] +MB +20\s*\n`, out.String())
	require.Regexp(t, `COSTS +EVENTS/S +SERVER cpu us/event +WORKER cpu us/event +WAL B/event`, out.String())
	require.Regexp(t, `ours +1100 \[1000\.\.1200\] +733 +7282`, out.String())
	require.Contains(t, out.String(), "reference of quick: the slow one")
	require.Contains(t, out.String(), "The machine was noisy")
	require.Contains(t, out.String(), "it was busy")
}

// The widest names and figures that a run has fit a terminal.
func TestTheReportFitsATerminal(t *testing.T) {
	t.Parallel()
	rate, high := []float64{12345, 10000, 23456}, []float64{120000, 110000, 130000}
	r := Report{
		Program: "v1.12.3-0.20260102030405-0123456789ab", Postgres: "18.1 (Ubuntu 18.1-1.pgdg24.04+1)", CPUs: 128,
		Settings: map[string]string{"fsync": "on", "synchronous_commit": "remote_apply", "shared_buffers": "128GB"},
		Measures: []Measure{
			compare("inserts by 64, worker at work", "rows/s", rate, plainReference, rate).judged(atLeast(0.85, 0.95)),
			compare("bulk inserts", "rows/s", high, plainReference, high),
			compare("pipeline against batches", "events/s", rate, batchCall, rate).judged(atLeast(0.85, 0.95)),
			measure("idle CPU, server", "% of core", []float64{0.25}).judged(atMost(0.55, 0.25)),
		},
		Costs: []Cost{{
			Name: "500 calls in one statement", Rate: sampleOf(rate), Server: &Sample{Values: rate}, Client: &Sample{Values: rate}, WAL: sampleOf(rate),
		}},
		Notes: []string{strings.Repeat("A long sentence. ", 20)},
	}
	var out strings.Builder
	require.NoError(t, r.Write(&out))
	for line := range strings.Lines(out.String()) {
		require.LessOrEqual(t, len(line)-1, width, line)
		require.Equal(t, strings.TrimRight(line, " \n")+"\n", line, "a space ends it")
	}
}

func TestRatesWithinAHistory(t *testing.T) {
	t.Parallel()
	var points []GrowthPoint
	for i := range 10 { // twice as slow from the sixth on
		points = append(points, GrowthPoint{Finished: 10 * (i + 1), Seconds: float64(i + 1 + max(0, i-4))})
	}
	require.InDelta(t, 10, rateWithin(points, 0, 10), 0)
	require.InDelta(t, 5, rateWithin(points, 90, 100), 0)
	require.InDelta(t, 5, rateWithin(points, 85, 100), 0, "from the point before")
	require.InDelta(t, 100.0/15, rateWithin(points, 0, 100), 1e-9)
	require.Zero(t, rateWithin(nil, 0, 10))
}

func TestWhatPgbenchPrints(t *testing.T) {
	t.Parallel()
	result, err := parsePgbench("number of transactions actually processed: 64/64\nnumber of failed transactions: 0 (0.000%)\n" +
		"tps = 4123.456789 (without initial connection time)\n")
	require.NoError(t, err)
	require.Equal(t, loadResult{rate: 4123.456789, transactions: 64}, result)
	_, err = parsePgbench("pgbench (15)")
	require.ErrorContains(t, err, "no rate in")
}

// On a slow machine, connecting the clients takes all of the time.
func TestPgbenchIsGivenTheTimeItNeeds(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "pgbench")
	executable.Write(t, script, `#!/bin/sh
case "$*" in
*--time=1\ *) echo "number of transactions actually processed: 0" ;;
*--time=2\ *) printf 'number of transactions actually processed: 63\ntps = 60.0 (without initial connection time)\n' ;;
*--time=4\ *) printf 'number of transactions actually processed: 240\ntps = 80.0 (without initial connection time)\n' ;;
esac
`)
	server, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/nothing")
	require.NoError(t, err)
	b, s := &bench{cfg: Config{Pgbench: script}}, &scratch{scratchdb.On(server, "nothing")}
	result, err := b.pgbenchFor(t.Context(), s, "SELECT 1", 64, time.Second)
	require.NoError(t, err)
	require.Equal(t, loadResult{rate: 80, transactions: 240}, result)
	_, err = b.pgbenchFor(t.Context(), s, "SELECT 1", 64, 2*longestTry)
	require.ErrorContains(t, err, "no rate in")
}

func TestPgbenchGoesWhereTheConfigLeads(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig("postgres://me:secret@localhost:5433/other?sslmode=disable")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"PGHOST=localhost", "PGPORT=5433", "PGUSER=me", "PGDATABASE=other", "PGSSLMODE=disable",
		"PGAPPNAME=iuworker-bench", "PGPASSWORD=secret",
	}, libpqEnvironment(cfg))
	for mode, want := range map[string]string{"require": "require", "prefer": "prefer", "allow": "prefer"} {
		cfg, err := pgx.ParseConfig("postgres://me@localhost/other?sslmode=" + mode)
		require.NoError(t, err)
		require.Contains(t, libpqEnvironment(cfg), "PGSSLMODE="+want)
	}
	require.True(t, steersLibpq("PGSERVICE=x"))
	require.False(t, steersLibpq("PGSSLROOTCERT=x"))
	require.False(t, steersLibpq("PATH=x"))
}
