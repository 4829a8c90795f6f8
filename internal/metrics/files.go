package metrics

import _ "embed" // the dashboard and the rules

// Dashboard is a dashboard for Grafana: import it and choose the Prometheus that scrapes the workers.
//
//go:embed dashboard.json
var Dashboard string

// Alerts are alert rules for Prometheus, a file for rule_files.
//
//go:embed alerts.yaml
var Alerts string
