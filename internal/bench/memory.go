package bench

import (
	"context"
	"fmt"
	"time"
)

// rssPoint is the resident memory at a moment.
type rssPoint struct {
	at    time.Time
	bytes int64
}

// rssWatch notes the resident memory of this process ten times per second.
type rssWatch struct {
	cancel context.CancelFunc
	points chan []rssPoint
}

func watchRSS(ctx context.Context) *rssWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &rssWatch{cancel: cancel, points: make(chan []rssPoint, 1)}
	go func() {
		var points []rssPoint
		for {
			points = append(points, rssPoint{at: time.Now(), bytes: ownRSS()})
			if pause(ctx, 100*time.Millisecond) != nil {
				w.points <- points
				return
			}
		}
	}()
	return w
}

// end returns what was noted. Call it once.
func (w *rssWatch) end() []rssPoint {
	w.cancel()
	return <-w.points
}

func megabytes(points []rssPoint) []float64 {
	values := make([]float64, len(points))
	for i, p := range points {
		values[i] = float64(p.bytes) / (1 << 20)
	}
	return values
}

// memory adds the worker's memory while it drained, and whether that grew.
func (b *bench) memory(name string, points []rssPoint) {
	values := megabytes(points)
	if len(values) == 0 || values[0] == 0 {
		b.report.Notes = append(b.report.Notes, "The worker's memory was not measured: only Linux tells.")
		return
	}
	m := measure(name, "MB", []float64{sampleOf(values).Max}, atMost(150, 80))
	third := len(values) / 3
	if third > 0 {
		first, last := sampleOf(values[:third]).Median, sampleOf(values[len(values)-third:]).Median
		m.Note = fmt.Sprintf("resident, the most of %d readings, this measuring included; %.0f MB in the first third of them, %.0f MB in the last",
			len(values), first, last)
	}
	b.add(m)
}
