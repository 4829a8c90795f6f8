package webui

import (
	"bytes"
	"encoding/xml"
	"errors"
	"html/template"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/internal/operate/history"
)

// element is an element that a chart's template writes.
type element struct {
	Name  string
	Attrs map[string]string
	Text  string // without the text of inner elements
}

// draw executes a chart's template, and requires that the result is well-formed and has no styles or scripts of its own.
func draw(t *testing.T, name string, data any) (elements []element) {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, htmlTemplates.ExecuteTemplate(&b, name, data))
	text := strings.ReplaceAll(b.String(), " data-ago ", ` data-ago="" `) // HTML needs no value, XML does
	decoder := xml.NewDecoder(strings.NewReader(text))
	var open []int
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return elements
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			e := element{Name: token.Name.Local, Attrs: map[string]string{}}
			for _, attr := range token.Attr {
				e.Attrs[attr.Name.Local] = attr.Value
				require.NotEqual(t, "style", attr.Name.Local, "the policy forbids styles inline")
				require.False(t, strings.HasPrefix(attr.Name.Local, "on"), "the policy forbids scripts inline")
			}
			require.NotContains(t, []string{"script", "style"}, e.Name)
			open = append(open, len(elements))
			elements = append(elements, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				elements[open[len(open)-1]].Text += string(token)
			}
		}
	}
}

func only(elements []element, name, class string) (some []element) {
	for _, e := range elements {
		if e.Name == name && (class == "" || e.Attrs["class"] == class) {
			some = append(some, e)
		}
	}
	return some
}

func share(t *testing.T, percentage string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.TrimSuffix(percentage, "%"), 64)
	require.NoError(t, err)
	return v / 100
}

var start = time.Date(2026, 3, 1, 17, 0, 0, 0, time.UTC)

// madeSeries returns a series for a range. point fills in each of its points.
func madeSeries(r history.Range, point func(i int, p *history.Point)) history.Series {
	s := history.Series{From: start, Step: r.Step, Until: start.Add(r.Span - r.Step/2)}
	for i := range int(r.Span / r.Step) {
		p := history.Point{At: start.Add(time.Duration(i) * r.Step), Known: true}
		point(i, &p)
		s.Points = append(s.Points, p)
	}
	return s
}

func TestOneBurstLeavesTheOtherBarsVisible(t *testing.T) {
	t.Parallel()
	s := madeSeries(history.RangeOf("1h"), func(i int, p *history.Point) {
		p.Composed = int64(20 + i%10)
		if i == 30 || i == 31 {
			p.Scaleout = 12_699 + int64(i)
		}
	})
	c := eventsChart("c", s)
	elements := draw(t, "chart", c)
	bars := only(elements, "rect", "composed")
	require.Len(t, bars, 60)
	for i, bar := range bars {
		if i != 30 && i != 31 {
			require.Greater(t, share(t, bar.Attrs["height"]), 0.3, "bar %d", i)
		}
	}
	cuts := only(elements, "svg", "cut")
	require.Len(t, cuts, 2)
	require.Len(t, c.Cuts, 2)
	require.Empty(t, c.Cuts[0].Label, "it would cover that of its neighbour, which is higher")
	require.Equal(t, "12,751", c.Cuts[1].Label)
	require.Contains(t, c.Note, "12,751")
	for _, bar := range only(elements, "rect", "") {
		require.LessOrEqual(t, share(t, bar.Attrs["y"])+share(t, bar.Attrs["height"]), 1.0001)
		require.GreaterOrEqual(t, share(t, bar.Attrs["y"]), -0.0001)
	}
	require.Len(t, only(elements, "g", "running"), 1, "the last step is not over")

	even := eventsChart("c", madeSeries(history.RangeOf("1h"), func(i int, p *history.Point) { p.Composed = int64(i) }))
	require.Empty(t, even.Cuts, "nothing is cut without need")
	require.Empty(t, even.Note)
}

func TestOneEventIsSeen(t *testing.T) {
	t.Parallel()
	s := madeSeries(history.RangeOf("1h"), func(i int, p *history.Point) {
		p.Composed = 5000
		if i == 3 {
			p.Composed, p.Dead = 0, 1
		}
	})
	bars := only(draw(t, "chart", eventsChart("c", s)), "rect", "dead")
	require.Len(t, bars, 1)
	require.GreaterOrEqual(t, share(t, bars[0].Attrs["height"]), 0.01)
}

func TestGapsAreGaps(t *testing.T) {
	t.Parallel()
	s := madeSeries(history.RangeOf("1h"), func(i int, p *history.Point) {
		p.P50, p.P95 = new(0.01), new(0.1*float64(i+1))
		if i >= 20 && i < 25 {
			p.Known, p.P50, p.P95 = false, nil, nil
		}
	})
	elements := draw(t, "chart", latencyChart("c", s))
	for _, class := range []string{"line p50", "line p95"} {
		lines := only(elements, "path", class)
		require.Len(t, lines, 1)
		require.Equal(t, 2, strings.Count(lines[0].Attrs["d"], "M"), "the pen is lifted once")
		require.NotContains(t, lines[0].Attrs["d"], "NaN")
	}
	require.Contains(t, only(elements, "td", "")[20*3].Text, "–")

	line := sparkline("x", sparkValues(s, func(p history.Point) *float64 { return p.P95 }))
	require.Equal(t, 2, strings.Count(line.Line, "M"))
	require.Equal(t, 2, strings.Count(line.Area, "Z"))
	require.Equal(t, "x", draw(t, "sparkline", line)[0].Attrs["aria-label"])
	require.NotContains(t, draw(t, "sparkline", sparkline("y", nil))[0].Attrs, "d", "nothing is nothing")
}

func TestTextsAreEscaped(t *testing.T) {
	t.Parallel()
	name := `<script>alert("1")</script>&'`
	s := history.ConsumerSeries{From: start, Until: start.Add(59 * time.Minute), Step: time.Minute}
	s.Consumers = []history.ConsumerLag{{Name: name, Lag: []*int64{new(int64(3))}}}
	elements := draw(t, "chart", lagChart("c", s))
	require.Equal(t, name, only(elements, "span", "chart-key c1")[0].Text)
	draw(t, "sparkline", sparkline(name, []float64{1}))

	marked := madeSeries(history.RangeOf("1h"), func(int, *history.Point) {})
	marked.Marks = []history.Mark{{At: start.Add(time.Minute), Kind: history.MarkGate, Text: name, By: name}}
	require.Contains(t, only(draw(t, "chart", eventsChart("c", marked)), "li", "")[0].Text, name)
}

func TestMarksStandWhereTheyHappened(t *testing.T) {
	t.Parallel()
	s := madeSeries(history.RangeOf("1h"), func(int, *history.Point) {})
	for _, minute := range []float64{6, 6.2, 30} {
		s.Marks = append(s.Marks, history.Mark{
			At: start.Add(time.Duration(minute * float64(time.Minute))), Kind: history.MarkGate, Text: "composer closed", By: "ann",
		})
	}
	c := eventsChart("c", s)
	require.Len(t, c.Marks, 3)
	require.Equal(t, c.Marks[2], c.LatestMarks()[0])
	require.Equal(t, "10%", c.Marks[0].X)
	require.Empty(t, c.Marks[1].X, "it falls together with the one before")
	require.Equal(t, c.Marks[0].N, c.Marks[1].N)
	require.Equal(t, "50%", c.Marks[2].X)
	require.Equal(t, "composer closed; composer closed", c.Rows[6].Mark)
	elements := draw(t, "chart", c)
	require.Len(t, only(elements, "g", "chart-mark gate"), 2)

	for range 20 {
		s.Marks = append(s.Marks, s.Marks[2])
	}
	require.Equal(t, 15, eventsChart("c", s).More, "the latest are shown")
}

func TestEmptyChartsHaveAxesAndSayWhatComes(t *testing.T) {
	t.Parallel()
	empty := madeSeries(history.RangeOf("24h"), func(_ int, p *history.Point) { p.Known = false })
	for _, c := range []chart{
		eventsChart("c", empty), latencyChart("c", empty), lagChart("c", history.ConsumerSeries{From: start, Until: start.Add(time.Hour), Step: time.Minute}),
		eventsChart("c", history.Series{}), latencyChart("c", history.Series{}), lagChart("c", history.ConsumerSeries{}),
	} {
		elements := draw(t, "chart", c)
		require.NotEmpty(t, c.Empty)
		require.NotEmpty(t, only(elements, "line", "grid"))
		require.GreaterOrEqual(t, len(c.YTicks), 2)
		require.Empty(t, only(elements, "rect", ""))
	}
}

func TestATableHasTheSameNumbers(t *testing.T) {
	t.Parallel()
	s := madeSeries(history.RangeOf("7d"), func(i int, p *history.Point) {
		p.Composed, p.Scaleout, p.Dead, p.Inserted = int64(i), 2, 3, new(int64(i+5))
	})
	elements := draw(t, "chart", eventsChart("c", s))
	require.Len(t, only(elements, "tr", ""), 85)
	cells := only(elements, "td", "")
	require.Equal(t, []string{"6", "1", "2", "0", "3", "0"}, []string{
		cells[6].Text, cells[7].Text, cells[8].Text, cells[9].Text, cells[10].Text, cells[11].Text,
	})
}

func TestMoreConsumersThanLines(t *testing.T) {
	t.Parallel()
	s := history.ConsumerSeries{From: start, Until: start.Add(59 * time.Minute), Step: time.Minute}
	for i := range 9 {
		lag := make([]*int64, 60)
		for j := range lag {
			lag[j] = new(int64(i * 1000))
		}
		s.Consumers = append(s.Consumers, history.ConsumerLag{Name: "c" + strconv.Itoa(i), Lag: lag})
	}
	c := lagChart("c", s)
	require.Len(t, c.Lines, linesShown)
	require.Equal(t, "c8", c.Keys[0].Name, "the one that lags most comes first")
	require.Contains(t, c.Note, "3 consumers")
}

func TestLinearTicksAreRound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		top := rapid.Float64Range(0, 1e9).Draw(t, "top")
		ticks := linearTicks(top)
		assert.Zero(t, ticks[0])
		assert.GreaterOrEqual(t, ticks[len(ticks)-1], top)
		assert.Less(t, ticks[len(ticks)-2], max(top, 4), "no step too many")
		assert.GreaterOrEqual(t, len(ticks), 3)
		assert.LessOrEqual(t, len(ticks), 6)
		step := ticks[1]
		leading := step / math.Pow(10, math.Floor(math.Log10(step)+1e-9))
		assert.Contains(t, []float64{1, 2, 5}, math.Round(leading*1e6)/1e6, "step %v", step)
	})
}

func TestLogTicksCoverTheValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		low := math.Pow(10, rapid.Float64Range(-3, 5).Draw(t, "low"))
		high := low * math.Pow(10, rapid.Float64Range(0, 4).Draw(t, "times"))
		high = min(high, 864000)
		ticks := lengthTicks(low, high)
		assert.GreaterOrEqual(t, len(ticks), 2)
		assert.LessOrEqual(t, len(ticks), 11)
		assert.LessOrEqual(t, ticks[0], low)
		assert.GreaterOrEqual(t, ticks[len(ticks)-1], high)
		assert.IsIncreasing(t, ticks)
		for _, tick := range ticks {
			assert.NotContains(t, lengthOf(tick), ".", "a label is round")
		}

		counted := countTicks(high)
		assert.Zero(t, counted[0])
		assert.GreaterOrEqual(t, counted[len(counted)-1], high)
		assert.IsIncreasing(t, counted)
		assert.LessOrEqual(t, len(counted), 6)
	})
}

func TestClockTicksAreRoundAndInRange(t *testing.T) {
	t.Parallel()
	for _, r := range history.Ranges {
		a := axis{start.Add(r.Step), r.Step, int(r.Span / r.Step)}
		ticks := clockTicks(a)
		require.GreaterOrEqual(t, len(ticks), 5, r.Name)
		require.LessOrEqual(t, len(ticks), 8, r.Name)
		for _, tick := range ticks {
			require.True(t, strings.HasSuffix(tick.Label, "0"), tick.Label)
			require.GreaterOrEqual(t, share(t, tick.Pos), 0.0)
			require.Less(t, share(t, tick.Pos), 1.0)
			require.Equal(t, tick.Label == "00:00", tick.Below != "", "a midnight has its day")
		}
	}
}

// NewChartsPage returns the handler of a page with all kinds of charts.
func NewChartsPage() http.Handler {
	busy := func(r history.Range) history.Series {
		s := madeSeries(r, func(i int, p *history.Point) {
			wave := math.Sin(float64(i) / 7)
			p.Composed = int64(float64(r.Step/time.Minute) * (180 + 90*wave))
			p.Inserted = new(p.Composed)
			p.Announced = p.Composed
			p.P50, p.P95 = new(0.006+0.004*wave), new(0.04+0.03*math.Cos(float64(i)/3))
			switch n := i * 60 / int(r.Span/r.Step); {
			case n >= 22 && n < 25:
				p.Scaleout, p.P95 = 12_699*int64(r.Step/time.Minute), new(3.2)
			case n >= 38 && n < 42:
				*p = history.Point{At: p.At}
			case n%11 == 0:
				p.Dead = 30 * int64(r.Step/time.Minute)
			}
		})
		at := func(share float64) time.Time { return start.Add(time.Duration(share * float64(r.Span))) }
		s.Marks = []history.Mark{
			{At: at(0.2), Kind: history.MarkGate, Text: "auto-instantiate closed", By: "ann"},
			{At: at(0.3), Kind: history.MarkGate, Text: "auto-instantiate opened", By: "ann"},
			{At: at(0.7), Kind: history.MarkVersion, Text: "version 0.2.0"},
		}
		return s
	}
	lag := history.ConsumerSeries{From: start, Until: start.Add(59 * time.Minute), Step: time.Minute}
	for i, name := range []string{"search-index", "data-warehouse", "analytics", "mailer", "crm", "billing"} {
		c := history.ConsumerLag{Name: name}
		for j := range 60 {
			v := int64(0)
			if i < 4 {
				v = int64(math.Pow(10, float64(4-i)) * (1 + math.Sin(float64(j*(i+1))/20)))
			}
			c.Lag = append(c.Lag, &v)
		}
		lag.Consumers = append(lag.Consumers, c)
	}
	empty := madeSeries(history.RangeOf("1h"), func(_ int, p *history.Point) { p.Known = false })
	page := struct {
		page

		Charts []chart
		Sparks []spark
	}{page: page{Title: "Charts", Database: "shop@db-1"}}
	for _, r := range history.Ranges {
		page.Charts = append(page.Charts, eventsChart("events-"+r.Name, busy(r)))
	}
	hour := busy(history.RangeOf("1h"))
	page.Charts = append(page.Charts, latencyChart("latency", hour), lagChart("lag", lag), eventsChart("none", empty), latencyChart("no-latency", empty))
	page.Sparks = append(page.Sparks, sparkline("Composed per minute, the last hour", sparkValues(hour, func(p history.Point) *float64 {
		return new(float64(p.Composed))
	})), sparkline("Nothing", counts(make([]int64, 12))))
	mux := http.NewServeMux()
	mux.HandleFunc("/assets/{name}", (&Handler{}).asset)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = htmlTemplates.ExecuteTemplate(w, "test-charts", page)
	})
	return withHeadersAndLimits(mux)
}

func init() { //nolint:gochecknoinits // templates cannot be added after one was executed
	htmlTemplates = template.Must(htmlTemplates.Parse(`{{define "test-charts"}}{{template "head" .}}<h1>Charts</h1>
<div class="grid">{{range .Charts}}<section class="card w-6" id="{{.ID}}">{{template "chart" .}}</section>{{end}}
{{range .Sparks}}<section class="card w-3">{{template "sparkline" .}}</section>{{end}}</div>{{template "foot" .}}{{end}}`))
}
