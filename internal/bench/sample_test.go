package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
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
	compared := compare("m", "u", []float64{2, 8}, "r", []float64{4, 4}, atLeast(1, 1.5))
	require.InDelta(t, 1.25, compared.Ratio.Median, 0, "of the ratios, not of the medians")
	require.Equal(t, VerdictBar, compared.Verdict)
}

func TestTheTableSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := Report{Program: "1.2.3", Postgres: "15.1", Events: 5, Repetitions: 2, Measures: []Measure{
		compare("quick", "x/s", []float64{10, 20}, "the slow one", []float64{5, 40}, atLeast(1, 2)),
		measure("alone", "MB", []float64{1234}, atMost(150, 80)),
	}}
	r.weigh("it was busy")
	var out strings.Builder
	require.NoError(t, r.Write(&out))
	require.Regexp(t, `quick +15\.0 +10\.0 +20\.0 +x/s +22\.5 +1\.25 \[0\.50\.\.2\.00\] +>= 1 +2 +bar`, out.String())
	require.Regexp(t, `alone +1234 +1234 +1234 +MB +<= 150 +80 +below`, out.String())
	require.Contains(t, out.String(), "reference of quick: the slow one")
	require.Contains(t, out.String(), "The machine was noisy")
	require.Contains(t, out.String(), "it was busy")
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
