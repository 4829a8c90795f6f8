// Package tracing sends spans to an OpenTelemetry receiver (OTLP over HTTP), if one is configured.
//
//	application   traceparent and tracestate in iu_outbox.event.trace_context
//	  relay       from the claim of the row to the commit of its job
//	  job         one run of the job, the wait for its batch included
//	    call      the transaction that composes
//	    emit      the transaction that gives the emission its position
//	    subscriber  traceparent in the CloudEvent is the job's span, tracestate the application's: see subscribe.Event.Traced
//
// The application decides whether a trace is sampled. Spans that cannot be sent are dropped: the work never waits for them.
package tracing
