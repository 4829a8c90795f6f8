package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/iu-core/iuworker/internal/compose"
	"github.com/iu-core/iuworker/jobs"
)

// other replaces all values that must not become the value of a label.
const other = "other"

var (
	queues = []string{jobs.QueueEvents, jobs.QueueScaleout}
	gates  = []compose.Gate{compose.GateComposer, compose.GateAutoInstantiate}
	parts  = []string{"relay", "emitter", "resumer", "pruner", "rescuer", "verifier"}
)

// usual maps each status to its usual ending. Their series begin at 0, so that rates count the first run.
var usual = map[jobs.Status]compose.Ending{
	jobs.StatusInstantiated:        compose.EndingCompleted,
	jobs.StatusIdempotentReplay:    compose.EndingCompleted,
	jobs.StatusComposerDisabled:    compose.EndingParked,
	jobs.StatusLiveGateClosed:      compose.EndingParked,
	jobs.StatusInvalidInput:        compose.EndingCancelled,
	jobs.StatusTemplateNotFound:    compose.EndingCancelled,
	jobs.StatusTemplateNotMarked:   compose.EndingCancelled,
	jobs.StatusTemplateEmpty:       compose.EndingCancelled,
	jobs.StatusInstanceKeyConflict: compose.EndingCancelled,
	jobs.StatusError:               compose.EndingRetried,
}

func (m *Metrics) beginAtZero() {
	for _, queue := range queues {
		for status, ending := range usual {
			m.runs.WithLabelValues(queue, string(status), string(ending))
		}
		m.runTook.WithLabelValues(queue)
		m.latency.WithLabelValues(queue)
	}
	for _, part := range parts {
		m.failures.WithLabelValues(part)
	}
}

// Relayed counts a transaction of the relay: rows left the outbox, and became jobs or merged into unfinished jobs.
func (m *Metrics) Relayed(rows, jobs, merged int, took time.Duration) {
	m.relayRows.Add(float64(rows))
	m.relayJobs.Add(float64(jobs))
	m.relayMerged.Add(float64(merged))
	m.relayBatch.Observe(float64(rows))
	m.relayTook.Observe(took.Seconds())
}

// Ran counts a run of a job.
func (m *Metrics) Ran(o compose.Outcome) {
	queue, status := o.Queue, o.Result.Status
	if !slices.Contains(queues, queue) {
		queue = other
	}
	if o.Err != nil {
		status = jobs.StatusError
	} else if _, known := usual[status]; !known {
		status = other
	}
	m.runs.WithLabelValues(queue, string(status), string(o.Ending)).Inc()
	m.runTook.WithLabelValues(queue).Observe(o.Took.Seconds())
	if status == jobs.StatusInstantiated && !o.Args.CreatedAt.IsZero() {
		m.latency.WithLabelValues(queue).Observe(max(o.Waited, 0).Seconds())
	}
}

// Composed counts a transaction that composes.
func (m *Metrics) Composed(b compose.Batch) {
	m.batchEvents.Observe(float64(b.Events))
	m.batchTook.Observe(b.Took.Seconds())
	if b.Split {
		m.splits.Inc()
	}
}

// Emitted counts a transaction of the emitter that gave positions.
func (m *Metrics) Emitted(emissions int, notified bool, took time.Duration) {
	m.emitted.Add(float64(emissions))
	m.emitBatch.Observe(float64(emissions))
	m.emitTook.Observe(took.Seconds())
	if !notified {
		m.silent.Inc()
	}
}

// Resumed counts parked jobs that run again.
func (m *Metrics) Resumed(n int) { m.resumed.Add(float64(n)) }

// Rescued counts jobs that run again because their worker died or left them behind.
func (m *Metrics) Rescued(n int) { m.rescued.Add(float64(n)) }

// Pruned counts emissions that were deleted.
func (m *Metrics) Pruned(n int) { m.pruned.Add(float64(n)) }

// Failed counts a failed round of a part of the worker.
func (m *Metrics) Failed(part string) { m.failures.WithLabelValues(part).Inc() }

// Listening sets whether this process receives notifications, and counts reconnects.
func (m *Metrics) Listening(up bool) {
	m.listenerUp.WithLabelValues().Set(one(up))
	if up && m.heard.Swap(true) {
		m.reconnects.Inc()
	}
}

// Verified sets the result of the last verification of all data.
func (m *Metrics) Verified(findings int64, at time.Time, took time.Duration) {
	m.verified.WithLabelValues().Set(one(findings == 0))
	m.findings.WithLabelValues().Set(float64(findings))
	m.verifiedAt.WithLabelValues().Set(float64(at.UnixMilli()) / 1000)
	m.verifyTook.WithLabelValues().Set(took.Seconds())
}

// NotVerifying clears the result of the last verification, because another process verifies now.
func (m *Metrics) NotVerifying() {
	for _, gauge := range []*prometheus.GaugeVec{m.verified, m.findings, m.verifiedAt, m.verifyTook} {
		gauge.Reset()
	}
}
