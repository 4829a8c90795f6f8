package metrics

import "slices"

// Types of instruments.
const (
	typeCounter   = "counter"
	typeGauge     = "gauge"
	typeHistogram = "histogram"
)

// Instrument is one metric. Labels have few values each: none is an id or a text that users make up, but the names of
// the consumers that lag most.
type Instrument struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Labels []string `json:"labels"`
	Help   string   `json:"help"`
}

// Catalog answers all instruments of this program in the order of an event's way.
func Catalog() []Instrument { return slices.Clone(catalog) }

var catalog = []Instrument{
	{"iuworker_build_info", typeGauge, []string{"version"}, "1; the version is the label."},
	{"iuworker_database_up", typeGauge, nil, "1 where the state was read from the database, 0 where not: then what is read from there is missing."},
	{"iuworker_state_read_duration_seconds", typeGauge, nil, "How long the last read of the state took."},

	{"iuworker_outbox_rows", typeGauge, nil, "Rows that wait in the outbox; beyond 10000 an estimate that is not too low."},
	{"iuworker_outbox_oldest_age_seconds", typeGauge, nil, "Age of the oldest row in the outbox; 0 where it is empty."},
	{"iuworker_relay_rows_total", typeCounter, nil, "Outbox rows that this process took out of the outbox."},
	{"iuworker_relay_jobs_total", typeCounter, nil, "Jobs that this process made of them."},
	{"iuworker_relay_merged_total", typeCounter, nil, "Outbox rows for whose idempotency key there was an unfinished job."},
	{"iuworker_relay_batch_rows", typeHistogram, nil, "Rows a transaction of the relay."},
	{"iuworker_relay_batch_duration_seconds", typeHistogram, nil, "Length of a transaction of the relay."},

	{"iuworker_queue_jobs", typeGauge, []string{"queue", "state"}, "Jobs by queue and state; counted up to 10000."},
	{"iuworker_parked_jobs", typeGauge, []string{"gate"}, "Jobs that wait for a gate to open; counted up to 10000."},
	{"iuworker_gate_open", typeGauge, []string{"gate"}, "1 where the gate is open."},
	{"iuworker_job_runs_total", typeCounter, []string{"queue", "status", "ending"},
		"Runs of jobs: what the function answered (or error), and what became of the job: completed, parked, cancelled, retried, discarded or interrupted."},
	{"iuworker_job_duration_seconds", typeHistogram, []string{"queue"}, "Length of a run of a job, the wait for its batch included."},
	{"iuworker_event_latency_seconds", typeHistogram, []string{"queue"},
		"From an event's insertion (or the time it was to wait for) to its instance, waiting for gates included, by the clocks of server and worker."},
	{"iuworker_compose_batch_events", typeHistogram, nil, "Events a transaction that composes."},
	{"iuworker_compose_batch_duration_seconds", typeHistogram, nil, "Length of a transaction that composes."},
	{"iuworker_compose_batch_splits_total", typeCounter, nil, "Batches that failed and were tried again in halves."},
	{"iuworker_yielding", typeGauge, nil, "1 where this process works less than it could, its work slowing producers down."},
	{"iuworker_yield_seconds_total", typeCounter, nil, "Time that the relay and the lanes of this process have rested for producers, together."},
	{"iuworker_resumed_jobs_total", typeCounter, nil, "Parked jobs that this process made run again."},
	{"iuworker_rescued_jobs_total", typeCounter, nil, "Jobs of dead workers, or left behind, that this process made run again."},
	{"iuworker_dead_letters_created_total", typeCounter, nil, "Dead letters that there ever were, as the database counts them: the same from every process."},
	{"iuworker_dead_letters", typeGauge, []string{"status"}, "Dead letters by status; counted up to 10000 each."},

	{"iuworker_emissions_waiting", typeGauge, nil, "Emissions without a position; beyond 10000 an estimate that is not too low."},
	{"iuworker_emissions_oldest_age_seconds", typeGauge, nil, "Age of the oldest emission without a position: how far announcing lags; 0 where there is none."},
	{"iuworker_emissions_held", typeGauge, nil, "1 where emissions are held back: the registry row is not active."},
	{"iuworker_emission_position", typeGauge, nil, "Position of the last emission. It only grows."},
	{"iuworker_emitter_emissions_total", typeCounter, nil, "Emissions that this process gave a position."},
	{"iuworker_emitter_batch_emissions", typeHistogram, nil, "Emissions a transaction of the emitter."},
	{"iuworker_emitter_batch_duration_seconds", typeHistogram, nil, "Length of a transaction of the emitter."},
	{"iuworker_emitter_silent_batches_total", typeCounter, nil, "Batches without NOTIFY, the notification queue being more than half full."},
	{"iuworker_pruned_emissions_total", typeCounter, nil, "Emissions that this process deleted after their retention."},
	{"iuworker_consumer_lag_events", typeGauge, []string{"consumer"}, "Events that a consumer has not handled yet; the 50 that lag most."},
	{"iuworker_consumer_lag_seconds", typeGauge, []string{"consumer"}, "How long the first of these has been waiting."},
	{"iuworker_consumer_lost", typeGauge, []string{"consumer"}, "1 where a consumer's cursor says nothing any more: rewound, pruned or beyond the end."},
	{"iuworker_consumer_expires_seconds", typeGauge, []string{"consumer"},
		"For how long, of time in which workers run, events that a consumer has not handled are surely kept; the 50 that expire first; " +
			"missing while a process works for it, and where all is kept."},
	{"iuworker_consumer_dead_letters", typeGauge, []string{"consumer"}, "Events that a consumer gave up."},

	{"iuworker_event_streams_open", typeGauge, nil, "Clients that follow the events over HTTP now."},
	{"iuworker_event_streams_refused_total", typeCounter, nil, "Clients that were refused, as many as may follow being there."},
	{"iuworker_event_streams_cut_off_total", typeCounter, nil, "Clients that were cut off, for taking too long to read."},

	{"iuworker_workers_alive", typeGauge, nil, "Processes that work."},
	{"iuworker_notification_queue_usage_ratio", typeGauge, nil, "How full the server's notification queue is, 0 to 1."},
	{"iuworker_listener_up", typeGauge, nil, "1 where this process hears doorbells; missing where it polls by choice."},
	{"iuworker_listener_reconnects_total", typeCounter, nil, "How often the listener connected anew."},
	{"iuworker_log_lines_dropped_total", typeCounter, nil, "Log lines that were dropped, because stderr could not be written to."},
	{"iuworker_part_failures_total", typeCounter, []string{"part"}, "Rounds of a part of the worker that failed, mostly for want of the database."},
	{"iuworker_pool_connections", typeGauge, []string{"state"}, "Connections of the pool: acquired, idle, constructing."},
	{"iuworker_pool_connections_max", typeGauge, nil, "Connections that the pool may have."},
	{"iuworker_pool_acquires_total", typeCounter, nil, "Connections handed out."},
	{"iuworker_pool_waits_total", typeCounter, nil, "Connections that somebody had to wait for."},
	{"iuworker_pool_wait_seconds_total", typeCounter, nil, "Time spent waiting for connections."},

	{"iuworker_verify_success", typeGauge, nil,
		"1 where the last verification found all data whole; missing before the first, and where another process verifies."},
	{"iuworker_verify_findings", typeGauge, nil, "What the last verification found wrong."},
	{"iuworker_verify_timestamp_seconds", typeGauge, nil, "When the last verification ended."},
	{"iuworker_verify_duration_seconds", typeGauge, nil, "How long the last verification took."},
}

// bucketsOf answers the buckets of a histogram: seconds up to the timeout of a job, or of an event that nobody
// attends to; numbers up to the largest batch.
func bucketsOf(name string) []float64 {
	switch name {
	case "iuworker_event_latency_seconds":
		return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	case "iuworker_relay_batch_rows", "iuworker_compose_batch_events", "iuworker_emitter_batch_emissions":
		return []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000}
	default:
		return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	}
}
