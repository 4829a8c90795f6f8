// Package retry is for code that retries until it succeeds.
//
//	Backoff    returns how long to wait before the next try
//	Pause      waits that long, or until the context ends
//	MayPass    reports whether an error is worth another try
//	Outage     logs the first failure, and the success that follows
package retry
