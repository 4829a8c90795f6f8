package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
	"github.com/iu-core/iuworker/internal/drill"
	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/pgserver"
)

// drillStop is how long a drill may take to end processes, servers and the database.
const drillStop = 40 * time.Second

type drillFlags struct {
	list          bool
	only          string
	minutes, seed int
	rate, workers int
	patience      time.Duration
}

func (f *drillFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.list, "list", false, "list the scenarios, and run none")
	flags.Var(textValue(&f.only, 1000), "only", "scenarios to run, separated by commas (default all; to list them: iuworker drill --list)")
	flags.Var(intValue(&f.minutes, 1, 7*24*60), "minutes", "repeat rounds of all scenarios for this long (default one round, about three minutes)")
	flags.Var(intValue(&f.seed, 1, 1<<31-1), "seed", "seed of all random choices; the same seed repeats them")
	flags.Var(intValue(&f.rate, 1, 2000), "rate", "events inserted per second")
	flags.Var(intValue(&f.workers, 1, 16), "workers", "number of worker processes")
	flags.Var(durationValue(&f.patience, time.Second, time.Hour), "patience", "how long the installation may take to recover from a fault")
}

// chosen returns the names of --only; one that does not exist is wrong usage.
func (f *drillFlags) chosen(cmd *cobra.Command) (names []string, err error) {
	if f.only == "" {
		return nil, nil
	}
	var known []string
	for _, s := range drill.Scenarios() {
		known = append(known, s.Name)
	}
	for name := range strings.SplitSeq(f.only, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			return nil, usage(cmd, "--only names %s, which is none of %s", quoted(name), strings.Join(known, ", "))
		}
		names = append(names, name)
	}
	return names, nil
}

func (a *app) drillCommand() *cobra.Command {
	f := drillFlags{seed: 1, rate: drill.DefaultRate, workers: drill.DefaultWorkers, patience: drill.DefaultPatience}
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Break a scratch installation on purpose, under load, and prove that nothing is lost",
		Long: `Creates an installation of its own: workers, durable consumers and stream clients on a database iuworker_drill_<random>,
under a load of events, duplicates, dry runs, rolled-back transactions and events that cannot be composed. Then it kills,
stops, cuts off and fails over, one scenario after the other, and waits each time until everything is delivered. At the
end it compares its own record of every acknowledged insert with the database and with what each subscriber received, and
runs verify. Exit code 1 if anything was lost, doubled, out of order or missing, or if nothing could run.

Without a database address (--database-url, IUWORKER_DATABASE_URL or DATABASE_URL) it starts a PostgreSQL of its own. On
a given server it creates a database and drops it, even after Ctrl-C, and skips what would hurt others there; what was
skipped does not count as passed. The login must be allowed to create databases.

If something is wrong, it keeps the logs, what was received, the findings and the command that repeats the run, in a
directory that it names. Otherwise nothing is left.`,
		Example: `  iuworker drill
  iuworker drill --only kill-workers,kill-server --seed 7
  iuworker drill --minutes 60 --json
  iuworker drill --database-url postgres://drill@127.0.0.1/postgres`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			only, err := f.chosen(cmd)
			if err != nil {
				return err
			}
			if f.list {
				return a.print(drill.Scenarios(), writeScenarios)
			}
			report, err := a.drill(cmd.Context(), cmd, drill.Config{
				Only: only, Duration: time.Duration(f.minutes) * time.Minute, Rate: f.rate, Workers: f.workers, Patience: f.patience,
				Seed: uint64(f.seed), Command: repeatDrill(cmd), //nolint:gosec // the flag has a bound
			})
			if err != nil {
				return err
			}
			return a.report(report, func(w io.Writer) { writeDrill(w, report) }, report.Passed, drillFailure(report))
		},
	}
	f.register(cmd)
	return a.withJSON(cmd)
}

// repeatDrill returns the command that repeats the run. It has no address: that may hold a password.
func repeatDrill(cmd *cobra.Command) string {
	words := []string{"iuworker drill"}
	for _, name := range []string{"only", "minutes", "seed", "rate", "workers", "patience"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed || name == "seed" {
			words = append(words, "--"+name, shellWord(flag.Value.String()))
		}
	}
	return strings.Join(words, " ")
}

// drill runs on the given server, or starts one.
func (a *app) drill(ctx context.Context, cmd *cobra.Command, cfg drill.Config) (_ *drill.Report, failed error) {
	var err error
	if cfg.Program, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cfg.Logger = a.logger
	from, given := a.source()
	if !given { // PG* do not count as given, as for demo
		if cfg.Own, err = a.startServer(ctx, cmd, pgserver.Config{Settings: drill.ServerSettings()}); err != nil {
			return nil, err
		}
		own := cfg.Own
		defer func() { failed = errors.Join(failed, own.Stop()) }()
		from = a.startedServer(own.URL("postgres"))
	}
	a.ending.allow(drillStop)
	at, err := a.addressesOf(cmd, from)
	if err != nil {
		return nil, err
	}
	for _, other := range at.direct.Fallbacks {
		if other.Host != at.direct.Host || other.Port != at.direct.Port {
			return nil, usage(cmd, "drill needs the address of one server, and this one names several hosts")
		}
	}
	if direct, ok := a.database.direct.source(a); given && ok {
		from = direct // a pooler does not know the database that is created
	}
	text, err := addressText(from)
	if err != nil {
		return nil, err
	}
	cfg.Server = at.pool
	cfg.Server.ConnConfig = at.direct
	cfg.Address = func(database, host string, port int) string { return throughProxy(text, database, host, port) }
	cfg.Environ = drillEnviron(os.Environ(), given, at.direct.Password)
	var stop func()
	cfg.Progress, stop = a.drillProgress()
	defer stop()
	return drill.Run(ctx, cfg)
}

func addressText(from address.Source) (string, error) {
	if from.File == "" {
		return from.Text, nil
	}
	text, err := os.ReadFile(from.File)
	if err != nil {
		return "", fmt.Errorf("read the address: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// throughProxy returns an address with another database, through a proxy at host, which is the directory of a socket or an IP
// address, and port. What stands last in an address has precedence. The name of a server in a certificate stays.
func throughProxy(text, database, host string, port int) string {
	key := "host"
	if net.ParseIP(host) != nil {
		key = "hostaddr"
	}
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return fmt.Sprintf("%s dbname=%s %s=%s port=%d", text, conninfo(database), key, conninfo(host), port)
	}
	separator := "?"
	if strings.Contains(text, "?") {
		separator = "&"
	}
	return text + separator + fmt.Sprintf("dbname=%s&%s=%s&port=%d", database, key, url.PathEscape(host), port)
}

// drillEnviron returns the environment of the processes: without settings for this program, and, with a server of its own, without
// those of libpq. The password may come from a file that knows the server, and not the proxy.
func drillEnviron(environ []string, given bool, password string) []string {
	environ = slices.DeleteFunc(environ, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "IUWORKER_") || name == "DATABASE_URL" || name == "PGPASSWORD" || !given && strings.HasPrefix(name, "PG")
	})
	if password != "" {
		environ = append(environ, "PGPASSWORD="+password)
	}
	return environ
}

// drillProgress returns a function that keeps one line on a terminal, and prints one per scenario elsewhere.
func (a *app) drillProgress() (show func(drill.Progress), stop func()) {
	if !isTerminal(a.stderr) {
		return (&scenarioLines{w: a.stderr}).show, func() {}
	}
	bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(a.stderr), progressbar.OptionSpinnerType(14),
		progressbar.OptionSetSpinnerChangeInterval(0), // else it draws from a goroutine of its own, even after the end

		progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true))
	return func(p drill.Progress) {
		text := p.Step
		if p.Scenario != "" {
			text = p.Scenario + ": " + p.Step
		}
		if p.Of > 0 {
			text = fmt.Sprintf("%s  round %d, %d of %d scenarios ended  %s", p.Elapsed.Round(time.Second), p.Round, p.Done, p.Of, text)
		}
		bar.Describe(fmt.Sprintf("%s  (%s)", text, drillCounts(p)))
		_ = bar.Add(1) // a terminal that cannot be written to shows nothing anyway
	}, func() { _ = bar.Finish() }
}

// scenarioLines prints a line when a scenario begins.
type scenarioLines struct {
	w        io.Writer
	scenario string
	round    int
}

func (l *scenarioLines) show(p drill.Progress) {
	if p.Scenario == "" || p.Scenario == l.scenario && p.Round == l.round {
		return
	}
	l.scenario, l.round = p.Scenario, p.Round
	fmt.Fprintf(l.w, "%s  round %d, scenario %d of %d: %s  (%s)\n",
		p.Elapsed.Round(time.Second), p.Round, p.Done+1, p.Of, p.Scenario, drillCounts(p))
}

func drillCounts(p drill.Progress) string {
	return fmt.Sprintf("%s events acknowledged, %s under way", operate.Thousands(int64(p.Acknowledged)), operate.Thousands(int64(p.Pending)))
}
