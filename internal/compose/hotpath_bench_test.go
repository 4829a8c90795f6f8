package compose_test

import (
	"encoding/json"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/internal/iutest"
	"github.com/iu-core/iuworker/jobs"
)

func benchArgs() jobs.AutoInstantiateArgs {
	now := time.Now().UTC()
	args := event(uuid.New(), "order-4711")
	args.ID, args.Priority, args.AvailableAt, args.CreatedAt = 1, 1, now, now
	args.TraceContext = json.RawMessage(`{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`)
	args.IdempotencyKey = "0123456789abcdef0123456789abcdef"
	return args
}

func BenchmarkEncodeArgs(b *testing.B) {
	args := benchArgs()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(args); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeArgs(b *testing.B) {
	text, err := json.Marshal(benchArgs())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		var args jobs.AutoInstantiateArgs
		if err := json.Unmarshal(text, &args); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTraceparent(b *testing.B) {
	args := benchArgs()
	b.ReportAllocs()
	for b.Loop() {
		if traceparent, _ := args.Trace(); traceparent == "" {
			b.Fatal("no traceparent")
		}
	}
}

// BenchmarkBatcher composes through a real database. Its name has the number of concurrent events; ns/op is per event.
func BenchmarkBatcher(b *testing.B) {
	for _, atOnce := range []int{1, 100, 500} {
		b.Run(strconv.Itoa(atOnce), func(b *testing.B) {
			db := iutest.New(b)
			db.OpenGates(b)
			template := db.Template(b, "t", 12)
			batcher := compose.NewBatcher(compose.BatcherConfig{Pool: db.Pool, Lanes: 2})
			b.Cleanup(batcher.Close)
			b.ReportAllocs()
			b.ResetTimer()
			var callers sync.WaitGroup
			for caller := range atOnce {
				callers.Go(func() {
					for n := caller; n < b.N; n += atOnce {
						if _, err := batcher.Compose(b.Context(), compose.Event{AutoInstantiateArgs: event(template, strconv.Itoa(n))}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
		})
	}
}
