// Package metrics defines the Prometheus metrics of a process, a dashboard and alert rules.
//
//	catalog.go       every instrument: name, type, labels, help
//	observe.go       counters and histograms of this process, which the parts of the worker set
//	scrape.go        what each scrape reads from this process: the pool's connections, event streams, the log
//	state.go         the state of the database, which a scrape reads at most every 10 s: it is the same from every process, so
//	                 take max() over instances, never sum()
//	dashboard.json   for Grafana
//	alerts.yaml      rules for Prometheus; each says what it means and what to do first
//
//	failure                     what happens then
//	database unreachable        iuworker_database_up is 0, and the state is missing rather than stale
//	database slow               a scrape waits at most 3 s for it
//	many scrapers               those that scrape at once share one reading
package metrics
