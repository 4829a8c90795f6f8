// Package retry has what code needs that tries again until something works.
//
//	Pause      waits between two tries, or until the context ends
//	Backoff    says how long: it doubles, with jitter
//	MayPass    reports whether an error is worth another try
//	Outage     logs once that something was lost, and once that it is back
package retry
