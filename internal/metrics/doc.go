// Package metrics is what a process tells Prometheus, and what is made of it: a dashboard and alert rules.
//
//	catalog.go       every instrument: name, type, labels, what it says
//	observe.go       the parts of the worker report what they did: counters and histograms of this process
//	state.go         the state of the database, read when somebody scrapes, and at most every 10 s: the same from
//	                 every process, so take max() over instances, never sum()
//	pool.go          the connections of this process
//	dashboard.json   for Grafana
//	alerts.yaml      rules for Prometheus; each says what it means and what to do first
//
//	failure                     what happens then
//	database unreachable        iuworker_database_up is 0, and all that is read from there is missing, not old
//	database slow               a scrape waits for it for 3 s at most
//	many scrapers               those who come at once share one read
package metrics
