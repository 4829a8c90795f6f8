package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

func (e *examination) connection(ctx context.Context) (Check, error) {
	ctx, cancel := context.WithTimeout(ctx, min(4*time.Second, e.cfg.Timeout))
	defer cancel()
	start := time.Now()
	if err := e.cfg.Pool.Ping(ctx); err != nil {
		return failed("%s", e.cfg.Explain(err)).so("nothing else can be checked until there is a connection"), nil
	}
	first := time.Since(start)
	start = time.Now()
	if err := e.cfg.Pool.Ping(ctx); err != nil {
		return failed("the connection broke: %s", e.cfg.Explain(err)), nil
	}
	return fine("%s replies in %s (first in %s)", address(e.cfg.Pool.Config().ConnConfig),
		time.Since(start).Round(10*time.Microsecond), first.Round(time.Millisecond)), nil
}

// address names a database without a password, by all hosts that the address has.
func address(cfg *pgx.ConnConfig) string {
	hosts := []string{hostPort(cfg.Host, cfg.Port)}
	for _, other := range cfg.Fallbacks {
		if host := hostPort(other.Host, other.Port); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return fmt.Sprintf("database %s at %s, user %s,", cfg.Database, strings.Join(hosts, " or "), cfg.User)
}

func hostPort(host string, port uint16) string {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return host
	}
	return net.JoinHostPort(host, fmt.Sprint(port))
}
