package eventstream_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker"
)

// BenchmarkFanOut measures how long an event takes from the commit of its instance to clients over HTTP, through a
// worker: on average over all clients, and for the last one.
//
//	go test -run - -bench FanOut -benchtime 200x ./riverui/eventstream
func BenchmarkFanOut(b *testing.B) {
	for _, clients := range []int{1, 500} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := setupStreaming(b, nil)
			w, err := worker.New(worker.Config{Pool: s.cfg.Pool, Logger: s.cfg.Logger})
			require.NoError(b, err)
			require.NoError(b, w.Start(b.Context()))
			arrived := make(chan time.Time, clients)
			var reading sync.WaitGroup
			all := make([]*stream, clients)
			for i := range all {
				all[i] = s.open(b, "")
				reading.Go(func() {
					for {
						if _, err := all[i].next(); err != nil {
							return
						}
						arrived <- time.Now()
					}
				})
			}
			var took, last []time.Duration
			for i := 0; b.Loop(); i++ {
				s.Exec(b, composeSQL, "order.paid", s.template, fmt.Sprintf("fan-out-%d", i), "billing")
				committed := time.Now()
				var longest time.Duration
				for range clients {
					took = append(took, max(0, (<-arrived).Sub(committed)))
					longest = max(longest, took[len(took)-1])
				}
				last = append(last, longest)
			}
			for name, list := range map[string][]time.Duration{"": took, "-last": last} {
				slices.Sort(list)
				for _, p := range []int{50, 99} {
					b.ReportMetric(float64(list[len(list)*p/100])/1e6, fmt.Sprintf("p%d%s-ms", p, name))
				}
			}
			b.ReportMetric(0, "ns/op") // meaningless with one event at a time
			for _, c := range all {
				c.close()
			}
			reading.Wait()
			require.NoError(b, w.Stop(b.Context()))
			require.NotContains(b, s.log.String(), "cut off")
		})
	}
}
