package bench_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/bench"
)

func TestSVG(t *testing.T) {
	t.Parallel()
	report := &bench.Report{Growth: []bench.GrowthPoint{
		{Finished: 500_000, Rate: 2400, RSS: 55}, {Finished: 1_000_000, Rate: 1200, RSS: 110},
	}}
	var b bytes.Buffer
	require.NoError(t, report.WriteSVG(&b))
	require.Contains(t, b.String(), `points="365.0,40.0 660.0,147.5"`, "the axis of the rates ends at 2400")
	require.Contains(t, b.String(), "1 000 000 finished jobs")
	decoder := xml.NewDecoder(&b)
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	require.ErrorContains(t, new(bench.Report).WriteSVG(io.Discard), "run it with --growth")
}
