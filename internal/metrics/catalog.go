package metrics

import "slices"

// Types of instruments.
const (
	typeCounter   = "counter"
	typeGauge     = "gauge"
	typeHistogram = "histogram"
)

// labelDatabase is the label of all metrics about a database; Registry adds it.
const labelDatabase = "database"

// ofProcess are the metrics of ours that are about the process, whatever databases it works on.
var ofProcess = []string{"iuworker_log_lines_dropped_total"}

// Instrument is one metric. Each label has few values: none is an id or a text of users, except for the names of databases and of
// the consumers that lag most.
type Instrument struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Labels []string `json:"labels"`
	Help   string   `json:"help"`
}

// Catalog returns all instruments of this program, in the order in which events pass through it.
func Catalog() []Instrument {
	all := slices.Clone(catalog)
	for i := range all {
		if !slices.Contains(ofProcess, all[i].Name) {
			all[i].Labels = append([]string{labelDatabase}, all[i].Labels...)
		}
	}
	return all
}

// catalog lacks the label database.
var catalog = []Instrument{
	{"iuworker_build_info", typeGauge, []string{"version"}, "Always 1; the label is the version."},
	{"iuworker_database_up", typeGauge, nil, "1 if the state was read from the database; if 0, the metrics that are read from it are missing."},
	{"iuworker_worker_ready", typeGauge, nil, "1 if this process can work on the database: what /readyz says; missing if it has no worker."},
	{"iuworker_state_read_duration_seconds", typeGauge, nil, "Duration of the last read of the state."},

	{"iuworker_outbox_rows", typeGauge, nil, "Rows waiting in the outbox; above 10000 an estimate that is not too low."},
	{"iuworker_outbox_oldest_age_seconds", typeGauge, nil, "Age of the oldest row in the outbox; 0 if it is empty."},
	{"iuworker_relay_rows_total", typeCounter, nil, "Rows that this process moved out of the outbox."},
	{"iuworker_relay_jobs_total", typeCounter, nil, "Jobs that this process inserted for them."},
	{"iuworker_relay_merged_total", typeCounter, nil, "Outbox rows that were merged into an unfinished job with the same idempotency key."},
	{"iuworker_relay_batch_rows", typeHistogram, nil, "Rows per transaction of the relay."},
	{"iuworker_relay_batch_duration_seconds", typeHistogram, nil, "Duration of a transaction of the relay."},

	{"iuworker_queue_jobs", typeGauge, []string{"queue", "state"}, "Jobs by queue and state, counted up to 10000."},
	{"iuworker_parked_jobs", typeGauge, []string{"gate"}, "Jobs waiting for a gate to open, counted up to 10000."},
	{"iuworker_gate_open", typeGauge, []string{"gate"}, "1 if the gate is open."},
	{"iuworker_job_runs_total", typeCounter, []string{"queue", "status", "ending"},
		"Runs of jobs, by the status that the function returned (or error) and by what became of the job: completed, parked, cancelled, " +
			"retried, discarded or interrupted."},
	{"iuworker_job_duration_seconds", typeHistogram, []string{"queue"}, "Duration of a run of a job, including the wait for its batch."},
	{"iuworker_event_latency_seconds", typeHistogram, []string{"queue"},
		"From the insertion of an event (or its available_at) to its instance, including time spent waiting for gates, by the clocks of server and worker."},
	{"iuworker_compose_batch_events", typeHistogram, nil, "Events per transaction that composes."},
	{"iuworker_compose_batch_duration_seconds", typeHistogram, nil, "Duration of a transaction that composes."},
	{"iuworker_compose_batch_splits_total", typeCounter, nil, "Batches that failed, and whose events were retried apart."},
	{"iuworker_resumed_jobs_total", typeCounter, nil, "Parked jobs that this process resumed."},
	{"iuworker_rescued_jobs_total", typeCounter, nil, "Jobs of dead workers, or left behind, that this process rescued."},
	{"iuworker_dead_letters_created_total", typeCounter, nil, "Dead letters ever created, as the database counts them; the same from every process."},
	{"iuworker_dead_letters", typeGauge, []string{"status"}, "Dead letters by status, each counted up to 10000."},

	{"iuworker_emissions_waiting", typeGauge, nil, "Emissions without a position; above 10000 an estimate that is not too low."},
	{"iuworker_emissions_oldest_age_seconds", typeGauge, nil,
		"Age of the oldest emission without a position, which is the lag of the emitter; 0 if there is none."},
	{"iuworker_emissions_held", typeGauge, nil, "1 if emissions are held back because the event type is not active."},
	{"iuworker_emission_position", typeGauge, nil, "Position of the last emission; it only grows."},
	{"iuworker_emitter_emissions_total", typeCounter, nil, "Emissions that this process announced."},
	{"iuworker_emitter_batch_emissions", typeHistogram, nil, "Emissions per transaction of the emitter."},
	{"iuworker_emitter_batch_duration_seconds", typeHistogram, nil, "Duration of a transaction of the emitter."},
	{"iuworker_emitter_silent_batches_total", typeCounter, nil, "Batches announced without NOTIFY because the notification queue is more than half full."},
	{"iuworker_pruned_emissions_total", typeCounter, nil, "Emissions that this process deleted after their retention."},
	{"iuworker_consumer_lag_events", typeGauge, []string{"consumer"}, "Events that a consumer has not handled yet; the 50 consumers that lag most."},
	{"iuworker_consumer_lag_seconds", typeGauge, []string{"consumer"}, "How long the first of these events has been waiting."},
	{"iuworker_consumer_lost", typeGauge, []string{"consumer"}, "1 if the cursor of a consumer is no longer valid: rewound, pruned or beyond the end."},
	{"iuworker_consumer_expires_seconds", typeGauge, []string{"consumer"},
		"Time, counted while workers run, until events that a consumer has not handled may be deleted; the 50 that expire first; " +
			"missing while a process works for it, and if everything is retained."},
	{"iuworker_consumer_dead_letters", typeGauge, []string{"consumer"}, "Dead letters of a consumer."},

	{"iuworker_publish_events_total", typeCounter, nil, "Events that iuworker publish carried to the log, which acknowledged them."},
	{"iuworker_publish_duplicates_total", typeCounter, nil, "Messages that the log had before, and did not store again."},
	{"iuworker_publish_resumes_total", typeCounter, []string{"reason"},
		"How often the log was asked where to continue: at the start, after a failure or a reconnect (doubt), or if somebody moved the consumer's row."},
	{"iuworker_publish_ack_seconds", typeHistogram, nil, "Duration from sending a message, or a transaction, to its acknowledgement by the log."},
	{"iuworker_publish_broker_up", typeGauge, nil, "1 if iuworker publish is connected to the broker."},

	{"iuworker_event_streams_open", typeGauge, nil, "Clients connected to /v1/events."},
	{"iuworker_event_streams_refused_total", typeCounter, nil, "Clients that were refused because too many were connected."},
	{"iuworker_event_streams_cut_off_total", typeCounter, nil, "Clients that were disconnected because they read too slowly."},

	{"iuworker_workers_alive", typeGauge, nil, "Workers that are alive."},
	{"iuworker_notification_queue_usage_ratio", typeGauge, nil, "How full the server's notification queue is, 0 to 1."},
	{"iuworker_listener_up", typeGauge, nil, "1 if this process receives notifications; missing if it polls by choice."},
	{"iuworker_listener_reconnects_total", typeCounter, nil, "Reconnects of the listener."},
	{"iuworker_log_lines_dropped_total", typeCounter, nil, "Log lines dropped because stderr was blocked."},
	{"iuworker_part_failures_total", typeCounter, []string{"part"}, "Failed rounds of a part of the worker, mostly because the database was away."},
	{"iuworker_pool_connections", typeGauge, []string{"state"}, "Connections of the pool: acquired, idle, constructing."},
	{"iuworker_pool_connections_max", typeGauge, nil, "Maximum number of connections of the pool."},
	{"iuworker_pool_acquires_total", typeCounter, nil, "Connections acquired from the pool."},
	{"iuworker_pool_waits_total", typeCounter, nil, "Acquisitions that had to wait for a connection."},
	{"iuworker_pool_wait_seconds_total", typeCounter, nil, "Time spent waiting for connections."},

	{"iuworker_verify_success", typeGauge, nil,
		"1 if the last verification found nothing wrong; missing before the first one, and if another process verifies."},
	{"iuworker_verify_findings", typeGauge, nil, "Number of problems that the last verification found."},
	{"iuworker_verify_timestamp_seconds", typeGauge, nil, "Time at which the last verification ended."},
	{"iuworker_verify_duration_seconds", typeGauge, nil, "Duration of the last verification."},
}

// bucketsOf returns the buckets of a histogram: seconds up to the timeout of a job, or up to an hour for the latency of events;
// numbers up to the largest batch.
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
