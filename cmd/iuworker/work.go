package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/worker"
)

// workFlags are the settings of a worker and of its pages.
type workFlags struct {
	worker      worker.Config
	poolSize    int
	httpAddr    string
	metricsAddr string // "": with the pages
	otlp        string // URL; "": nothing is traced
	basePath    string
	environment string
	credentials string // a file
	tokens      string // a file
	migrate     bool   // the schema, before the worker starts

	eventsClients int
}

// defaultWorkFlags are the defaults of worker.Config, for the help to show.
func defaultWorkFlags() workFlags {
	return workFlags{
		worker: worker.Config{
			Concurrency: 500, ScaleoutConcurrency: 200, Lanes: 4, PollInterval: time.Second, SweepInterval: 2 * time.Second,
			RelayBatch: 500, Yield: time.Minute, EmitBatch: 500, ShutdownTimeout: 20 * time.Second,
			VerifyInterval:     6 * time.Hour,
			CompletedRetention: day, CancelledRetention: day, DiscardedRetention: 7 * day,
			EmissionRetention: 30 * day, ConsumerExpiry: 30 * day,
		},
		poolSize: 20,
		httpAddr: webui.DefaultAddr,

		eventsClients: 5000,
	}
}

func (f *workFlags) register(cmd *cobra.Command) {
	f.registerServing(cmd)
	w := &f.worker
	number := func(to *int, least, most int, name, what string) {
		cmd.Flags().Var(&intValue{to, least, most}, name, what)
	}
	number(&w.Concurrency, 1, 10_000, "concurrency", "maximum number of jobs of the queue events that run at once")
	number(&w.ScaleoutConcurrency, 0, 10_000, "scaleout-concurrency", "maximum number of jobs of the queue scaleout that run at once; 0 runs none")
	number(&w.Lanes, 1, 100, "lanes", "statements that compose at once, each for many jobs and on its own connection")
	number(&w.RelayBatch, 1, 5_000, "relay-batch", "maximum number of outbox rows that become jobs in one transaction")
	number(&w.EmitBatch, 1, 10_000, "emit-batch", "maximum number of emissions that get their position in one transaction")
	length := func(to *time.Duration, least, most time.Duration, name, what string) {
		cmd.Flags().Var(&durationValue{to: to, min: least, max: most}, name, what)
	}
	length(&w.PollInterval, 10*time.Millisecond, time.Hour, "poll-interval", "fallback polling interval")
	length(&w.SweepInterval, 10*time.Millisecond, time.Hour, "sweep-interval", "how often to check for parked jobs whose gate is open")
	cmd.Flags().Var(&durationValue{to: &w.Yield, max: day}, "yield",
		"longest delay added to events to keep producers fast; 0 = never delay")
	retention := func(to *time.Duration, name, what string) {
		cmd.Flags().Var(&durationValue{to: to, min: time.Second, max: 100 * 365 * day, mayForever: true}, name, what)
	}
	retention(&w.CompletedRetention, "completed-retention", "how long to retain completed jobs; 0 or forever = never delete them")
	retention(&w.CancelledRetention, "cancelled-retention", "how long to retain cancelled jobs (dead letters stay); 0 or forever = never delete them")
	retention(&w.DiscardedRetention, "discarded-retention", "how long to retain discarded jobs (dead letters stay); 0 or forever = never delete them")
	retention(&w.EmissionRetention, "emission-retention", "how long to retain emissions that all consumers have handled; 0 or forever = never delete them")
	retention(&w.VerifyInterval, "verify-interval", "how often one worker verifies all data; 0 or forever = never")
	length(&w.ConsumerExpiry, time.Minute, 100*365*day, "consumer-expiry",
		"how long an inactive consumer keeps emissions from being pruned, while workers run")
	cmd.Flags().BoolVar(&f.migrate, "migrate", false, "migrate the schema first if it is missing or older than this program")
	cmd.Flags().Var(&textValue{&w.ID, 100}, "worker-id", "unique name of this process (default host, pid and a random part)")
}

// registerServing adds the settings that dev has, too.
func (f *workFlags) registerServing(cmd *cobra.Command) {
	takesSettings(cmd)
	flags := cmd.Flags()
	flags.Var(&intValue{&f.poolSize, 2, 1000}, "pool-size",
		"maximum number of pooled connections to the database, not counting three that listen or hold locks")
	flags.Var(&addrValue{&f.httpAddr}, "http-addr", "host:port of the pages and probes, or off")
	flags.Var(&addrValue{&f.metricsAddr}, "metrics-addr", "host:port of a separate listener for the metrics, such as "+
		webui.DefaultMetricsAddr+", or off (default: with the pages, at /metrics)")
	f.registerTracing(flags)
	flags.Var(&pathValue{&f.basePath}, "http-base-path", "path under which a proxy serves the pages, such as /iuworker")
	flags.Var(&environmentValue{&f.environment}, "environment", "name of this installation, such as production, shown in the header of the pages")
	f.registerAccess(cmd)
	flags.Var(&durationValue{to: &f.worker.ShutdownTimeout, min: time.Second, max: time.Hour}, "shutdown-timeout",
		"time limit for stopping after SIGTERM; running jobs get most of it")
}

// pathValue is a base path of the pages.
type pathValue struct{ to *string }

// Set implements pflag.Value.
func (v *pathValue) Set(text string) error {
	path, err := webui.CheckBasePath(text)
	if err != nil {
		return errors.New("it must be like /iuworker: a slash, then letters, digits and ._~- between slashes")
	}
	*v.to = path
	return nil
}

// String implements pflag.Value.
func (v *pathValue) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

// Type implements pflag.Value.
func (*pathValue) Type() string { return "path" }

// environmentValue is the name of an installation.
type environmentValue struct{ to *string }

// Set implements pflag.Value.
func (v *environmentValue) Set(text string) error {
	if err := webui.CheckEnvironment(text); err != nil {
		return err
	}
	*v.to = text
	return nil
}

// String implements pflag.Value.
func (v *environmentValue) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

// Type implements pflag.Value.
func (*environmentValue) Type() string { return "name" }

// addrValue is an address to listen on, or off.
type addrValue struct{ to *string }

// Set implements pflag.Value.
func (v *addrValue) Set(text string) error {
	if webui.CheckAddr(text) != nil {
		return fmt.Errorf("it must be host:port such as %s, or %s", webui.DefaultAddr, webui.Off)
	}
	*v.to = text
	return nil
}

// String implements pflag.Value.
func (v *addrValue) String() string {
	if v.to == nil {
		return ""
	}
	return *v.to
}

// Type implements pflag.Value.
func (*addrValue) Type() string { return "address" }

func (a *app) workCommand() *cobra.Command {
	f := defaultWorkFlags()
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Run the worker: relay, jobs, emitter and pages",
		Long: `Runs all parts in one process. Any number of processes share the work. SIGTERM and Ctrl-C let running jobs finish, and
the program ends within --shutdown-timeout; a second signal ends it at once. Nothing is lost either way.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.logger = a.log.logger(a.stderr, a.getenv, toldLevel)
			a.tells = true
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(f.poolSize, given(cmd, "pool-size"))
			f.worker.Given = givenSettings(cmd, at)
			if f.worker.ScaleoutConcurrency == 0 {
				f.worker.ScaleoutConcurrency = -1
			}
			if f.worker.Yield == 0 {
				f.worker.Yield = -1
			}
			who, err := f.access(cmd, a.getenv)
			if err != nil {
				return err
			}
			if err := f.readTracing(cmd, a.getenv); err != nil {
				return err
			}
			return untilSignal(cmd.Context(), a.serve(cmd.Context(), at, f, who, nil))
		},
	}
	f.register(cmd)
	return cmd
}
