package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iu-core/iuworker/internal/dbsession"
	"github.com/iu-core/iuworker/internal/tracing"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
	"github.com/iu-core/iuworker/worker"
)

// workFlags are the settings of a worker and of its pages.
type workFlags struct {
	worker      worker.Config
	poolSize    int
	httpAddr    string
	metricsAddr string // "": with the pages
	otlp        string // URL; "": no traces
	basePath    string
	environment string
	credentials string // a file
	tokens      string // a file
	metrics     metricsAccess
	migrate     bool // the schema, before the worker starts

	databases    string // a file; "": there is one database
	databaseName string // the label database; "": the database's own name

	eventsClients int
}

func defaultWorkFlags() workFlags {
	return workFlags{
		worker: worker.Defaults(), poolSize: dbsession.DefaultPoolSize, httpAddr: webui.DefaultAddr, eventsClients: eventstream.DefaultMaxConnections,
	}
}

// users are the commands that have a setting.
type users uint8

const (
	ofWork users = 1 << iota
	ofDev
	ofBench
)

// setting is a flag of programs that run long: its default is what the value has, its variable follows from its name.
type setting struct {
	name  string
	value pflag.Value
	of    users
	help  string
}

// settings is the one table of the settings: flags, variables, the tables of the documents and what the pages show come
// from it.
func (f *workFlags) settings() []setting {
	const century = 100 * 365 * day
	w := &f.worker
	interval := func(to *time.Duration) pflag.Value { return durationValue(to, 10*time.Millisecond, time.Hour) }
	retention := func(to *time.Duration) pflag.Value { return foreverValue(to, time.Second, century) }
	return []setting{
		{"databases", textValue(&f.databases, pathMax), ofWork,
			"file of the databases to work on, one name and address per line, in place of --database-url; SIGHUP reads it again"},
		{"database-name", stringValue(&f.databaseName, "name", checkDatabaseName), ofWork | ofDev,
			"name of the database in metrics, if its own is not unique: the label database (default: its own)"},
		{"pool-size", intValue(&f.poolSize, 2, 1000), ofWork | ofDev | ofBench,
			"maximum number of pooled connections to the database, not counting three that listen or hold locks"},
		{"concurrency", intValue(&w.Concurrency, 1, 10_000), ofWork | ofBench, "maximum number of jobs of the queue events that run at once"},
		{"scaleout-concurrency", intValue(&w.ScaleoutConcurrency, 0, 10_000), ofWork,
			"maximum number of jobs of the queue scaleout that run at once; 0 runs none"},
		{"lanes", intValue(&w.Lanes, 1, 100), ofWork | ofBench, "statements that compose at once, each for many jobs and on its own connection"},
		{"compose-by", choiceValue(&w.ComposeBy, worker.ComposeByAuto, worker.ComposeByFunction), ofWork | ofBench,
			"auto = in sets, if iu-core's functions are the ones that iuworker created; function = a call for each event"},
		{"relay-batch", intValue(&w.RelayBatch, 1, 5_000), ofWork | ofBench, "maximum number of outbox rows that become jobs in one transaction"},
		{"emit-batch", intValue(&w.EmitBatch, 1, 10_000), ofWork | ofBench, "maximum number of emissions that get their position in one transaction"},
		{"poll-interval", interval(&w.PollInterval), ofWork,
			"fallback polling interval; ten times as long while the listener is connected"},
		{"sweep-interval", interval(&w.SweepInterval), ofWork, "how often to check for parked jobs whose gate is open"},
		{"rate", intValue(&w.Rate, 0, 1_000_000), ofWork, "maximum number of events that this process composes per second; 0 = unlimited"},
		{"completed-retention", retention(&w.CompletedRetention), ofWork, "how long to retain completed jobs; 0 or forever = never delete them"},
		{"cancelled-retention", retention(&w.CancelledRetention), ofWork,
			"how long to retain cancelled jobs (dead letters stay); 0 or forever = never delete them"},
		{"discarded-retention", retention(&w.DiscardedRetention), ofWork,
			"how long to retain discarded jobs (dead letters stay); 0 or forever = never delete them"},
		{"emission-retention", retention(&w.EmissionRetention), ofWork,
			"how long to retain emissions that all consumers have handled; 0 or forever = never delete them"},
		{"consumer-expiry", durationValue(&w.ConsumerExpiry, time.Minute, century), ofWork,
			"how long an inactive consumer keeps emissions from being pruned, while workers run"},
		{"verify-interval", retention(&w.VerifyInterval), ofWork, "how often one worker verifies all data; 0 or forever = never"},
		{"shutdown-timeout", durationValue(&w.ShutdownTimeout, time.Second, time.Hour), ofWork | ofDev,
			"time limit for stopping after SIGTERM; running jobs get most of it"},
		{"migrate", boolValue(&f.migrate), ofWork, "migrate the schema first if it is missing or older than this program"},
		{"worker-id", textValue(&w.ID, 100), ofWork, "unique name of this process (default host, pid and a random part)"},
		{"http-addr", addrValue(&f.httpAddr), ofWork | ofDev, "host:port of the pages and probes, or off"},
		{"metrics-addr", addrValue(&f.metricsAddr), ofWork | ofDev, "host:port of a separate listener for the metrics, such as " +
			webui.DefaultMetricsAddr + ", or off (default: with the pages, at /metrics)"},
		{"metrics-token-file", textValue(&f.metrics.tokens, pathMax), ofWork | ofDev, metricsTokensHelp},
		{"metrics-open", boolValue(&f.metrics.open), ofWork | ofDev,
			"let everybody who reaches --metrics-addr read the metrics: no token, no password"},
		{"http-base-path", pathValue(&f.basePath), ofWork | ofDev, "path under which a proxy serves the pages, such as /iuworker"},
		{"http-credentials-file", textValue(&f.credentials, pathMax), ofWork | ofDev,
			"file of the pages' users, one role:user:password per line; the role is viewer or operator; or give its lines in " + credentialsVariable},
		{"events-token-file", textValue(&f.tokens, pathMax), ofWork | ofDev,
			"file of bearer tokens for /v1/events, one per line; or give its lines in " + tokensVariable},
		{"events-max-connections", intValue(&f.eventsClients, 1, 1_000_000), ofWork | ofDev, "maximum number of clients that follow /v1/events at once"},
		{"environment", stringValue(&f.environment, "name", webui.CheckEnvironment), ofWork | ofDev,
			"name of this installation, such as production, shown in the header of the pages"},
		{"otlp-endpoint", textValue(&f.otlp, 2048), ofWork | ofDev, "URL of an OpenTelemetry receiver (OTLP over HTTP) for traces, " +
			"such as http://127.0.0.1:4318 (default " + otlpVariables + ", else no traces)"},
	}
}

// register adds the settings of one command.
func (f *workFlags) register(cmd *cobra.Command, of users) {
	for _, s := range f.settings() {
		if s.of&of != 0 {
			flag := cmd.Flags().VarPF(s.value, s.name, "", s.help)
			if s.value.Type() == boolKind {
				flag.NoOptDefVal = "true"
			}
		}
	}
}

const (
	boolKind = "bool" // pflag shows no value for it
	pathMax  = 4096
)

// pathValue is a base path of the pages.
func pathValue(to *string) *value[string] {
	parse := worded(webui.CheckBasePath, "like /iuworker: a slash, then letters, digits and ._~- between slashes")
	return &value[string]{to, "path", parse, strings.Clone}
}

// addrValue is an address to listen on, or off.
func addrValue(to *string) *value[string] {
	return stringValue(to, "address", func(text string) error {
		if webui.CheckAddr(text) != nil {
			return fmt.Errorf("it must be host:port such as %s, or %s", webui.DefaultAddr, webui.Off)
		}
		return nil
	})
}

// Variables that hold the lines of a secrets file, for installations without files.
const (
	credentialsVariable = "IUWORKER_HTTP_CREDENTIALS"
	tokensVariable      = "IUWORKER_EVENTS_TOKEN"
	metricsVariable     = "IUWORKER_METRICS_TOKEN"
)

// access says who may use the pages, the events and the metrics.
type access struct {
	credentials *webui.Credentials // nil: the pages need none
	tokens      *webui.Tokens      // of the events; nil: there are none
	metrics     *webui.Tokens      // nil: there are none
}

// reload reads the files of secrets again.
func (who access) reload() {
	if who.credentials != nil {
		who.credentials.Reload()
	}
	for _, tokens := range []*webui.Tokens{who.tokens, who.metrics} {
		if tokens != nil {
			tokens.Reload()
		}
	}
}

// resolve reads the secrets, and finds where traces go. What cannot be read is wrong usage.
func (f *workFlags) resolve(cmd *cobra.Command, getenv func(string) string) (who access, err error) {
	if who.credentials, err = readSecrets(cmd, "--http-credentials-file", f.credentials, credentialsVariable, getenv,
		webui.ReadCredentials, webui.ParseCredentials); err != nil {
		return who, err
	}
	if who.tokens, err = readSecrets(cmd, "--events-token-file", f.tokens, tokensVariable, getenv, webui.ReadTokens, webui.ParseTokens); err != nil {
		return who, err
	}
	if f.metrics.open && (f.metricsAddr == "" || f.metricsAddr == webui.Off) {
		return who, usage(cmd, "--metrics-open needs --metrics-addr: beside the pages, the metrics are never open to everybody")
	}
	if who.metrics, err = f.metrics.read(cmd, getenv); err != nil {
		return who, err
	}
	from := otlpVariables
	if f.otlp != "" {
		from = "--otlp-endpoint"
	}
	if f.otlp, err = tracing.Endpoint(f.otlp, getenv); err != nil {
		return who, usage(cmd, "%s: %v", from, err)
	}
	return who, nil
}

// readSecrets reads the file or the variable; it returns nil if neither is given.
func readSecrets[T any](cmd *cobra.Command, flag, file, variable string, getenv func(string) string,
	read, parse func(string) (*T, error),
) (secrets *T, err error) {
	text := getenv(variable)
	switch {
	case file != "" && text != "":
		err = fmt.Errorf("%s and %s contradict each other: give one of them", flag, variable)
	case file != "":
		secrets, err = read(file)
	case text != "":
		if secrets, err = parse(text); err != nil {
			err = fmt.Errorf("%s: %w", variable, err)
		}
	}
	if err != nil {
		return nil, usage(cmd, "%v", err)
	}
	return secrets, nil
}

// curl returns a command line that follows the events, without the secret.
func (who access) curl(pages string) string {
	var how string
	switch {
	case who.tokens != nil:
		how = `-H "Authorization: Bearer $TOKEN" `
	case who.credentials != nil:
		how = "-u USER "
	}
	return "curl -N " + how + shellQuoted(strings.TrimSuffix(pages, "/")+"/v1/events?from=beginning")
}
