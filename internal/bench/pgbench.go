package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/pgserver"
)

// FindPgbench returns the path of pgbench: in dir if that is not "", next to the binaries of an installed PostgreSQL, or on PATH.
func FindPgbench(ctx context.Context, dir string) (string, error) {
	for _, dir := range []string{dir, pgserver.Find(ctx)} {
		path := filepath.Join(dir, "pgbench")
		if _, err := os.Stat(path); err == nil && dir != "" {
			return path, nil
		}
	}
	path, err := exec.LookPath("pgbench")
	if err != nil {
		return "", errors.New("pgbench is missing, which the references run by: install PostgreSQL's server package " +
			"(Debian: apt-get install postgresql; macOS: brew install postgresql@18), or put pgbench on PATH")
	}
	return path, nil
}

// loadResult is what pgbench measured.
type loadResult struct {
	rate         float64 // transactions per second, without the time to connect
	transactions int
}

var (
	tpsLine       = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)`)
	processedLine = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
)

// pgbench runs a script in the scratch database with prepared statements. limit is --transactions=N, of each client, or
// --time=N, in whole seconds, which include the time to connect.
func (b *bench) pgbench(ctx context.Context, s *scratch, script string, clients int, limit string) (loadResult, error) {
	cmd := exec.CommandContext(ctx, b.cfg.Pgbench, "--no-vacuum", "--protocol=prepared", "--file=-", limit,
		fmt.Sprintf("--client=%d", clients), fmt.Sprintf("--jobs=%d", min(clients, runtime.NumCPU())))
	cmd.Env = append(slices.DeleteFunc(os.Environ(), steersLibpq), libpqEnvironment(s.Config(1).ConnConfig)...)
	cmd.Stdin = strings.NewReader(script + "\n")
	cmd.WaitDelay = 5 * time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return loadResult{}, ctx.Err()
		}
		return loadResult{}, fmt.Errorf("run pgbench: %w: %s", err, strings.TrimSpace(errOut.String()))
	}
	return parsePgbench(out.String())
}

// longestTry limits the time for which pgbenchFor runs pgbench.
const longestTry = time.Minute

// pgbenchFor is pgbench for a time. If not even one transaction per client was processed, it tries again with twice the time:
// on a slow machine the clients need it to connect.
func (b *bench) pgbenchFor(ctx context.Context, s *scratch, script string, clients int, limit time.Duration) (loadResult, error) {
	for ; ; limit *= 2 {
		result, err := b.pgbench(ctx, s, script, clients, fmt.Sprintf("--time=%d", max(1, int(limit.Seconds()))))
		if err != nil || result.transactions >= clients {
			return result, err
		}
		if limit > longestTry {
			return result, fmt.Errorf("run pgbench: %d clients processed %d transactions within %s", clients, result.transactions, limit)
		}
	}
}

func parsePgbench(out string) (loadResult, error) {
	tps, processed := tpsLine.FindStringSubmatch(out), processedLine.FindStringSubmatch(out)
	if len(processed) == 2 && processed[1] == "0" {
		return loadResult{}, nil // it prints no rate then
	}
	if tps == nil || processed == nil {
		return loadResult{}, fmt.Errorf("read what pgbench printed: no rate in %q", out)
	}
	rate, err := strconv.ParseFloat(tps[1], 64)
	transactions, errTransactions := strconv.Atoi(processed[1])
	if err := errors.Join(err, errTransactions); err != nil {
		return loadResult{}, fmt.Errorf("read what pgbench printed: %w", err)
	}
	return loadResult{rate: rate, transactions: transactions}, nil
}

// steersLibpq reports whether a variable names the server or database, which the scratch database sets itself. Variables for
// certificates and password files stay.
func steersLibpq(variable string) bool {
	return strings.HasPrefix(variable, "PG") && !strings.HasPrefix(variable, "PGSSL") && !strings.HasPrefix(variable, "PGPASSFILE")
}

// libpqEnvironment returns variables with which libpq connects as cfg does. Other users cannot read a process's variables.
func libpqEnvironment(cfg *pgx.ConnConfig) []string {
	sslmode := "disable"
	if cfg.TLSConfig != nil {
		sslmode = "require"
	}
	for _, fallback := range cfg.Fallbacks {
		if (fallback.TLSConfig == nil) != (cfg.TLSConfig == nil) {
			sslmode = "prefer"
		}
	}
	env := []string{
		"PGHOST=" + cfg.Host, fmt.Sprintf("PGPORT=%d", cfg.Port), "PGUSER=" + cfg.User, "PGDATABASE=" + cfg.Database,
		"PGSSLMODE=" + sslmode, "PGAPPNAME=iuworker-bench",
	}
	if cfg.Password != "" {
		env = append(env, "PGPASSWORD="+cfg.Password)
	}
	return env
}
