package webui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

// Config configures a Handler. The zero value of a field means its default.
type Config struct {
	// Pool is what the pages read from and act on. Required.
	Pool *pgxpool.Pool

	// Direct is where a worker listens, for the checks of Health. Default: the pool's address.
	Direct *pgx.ConnConfig

	// Client is what River UI acts on; it need not be started. Default: one that only inserts, over Pool.
	Client *river.Client[pgx.Tx]

	// Ready returns why the worker cannot work, nil if it can; /readyz calls it with a timeout of 2 s, and once for
	// all who ask at the same time. Default: always ready.
	Ready func(ctx context.Context) error

	// BasePath is where a proxy mounts the pages, such as /iuworker. Default: the root. The probes answer below it and
	// at the root.
	BasePath string

	// Credentials are who may see the pages and who may change something; nil asks for none and lets everybody on this
	// machine do everything: such a handler serves only this machine's own names.
	Credentials *Credentials

	// Metrics is served at /metrics, Events, such as an eventstream.Handler, at /v1/events. Default: nothing is served there.
	Metrics, Events http.Handler

	// EventsTokens are what programs may follow the events with, beside Credentials. With them and without Credentials,
	// the events are for nobody else. Default: there are none.
	EventsTokens *Tokens

	// Environment names the installation in header and title, such as production: at most 20 characters. Default: no name.
	Environment string

	// Version is the program's version, for the pages.
	Version string

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

var errEnvironment = errors.New("the name of an environment has at most 20 characters, and is one line")

var basePathForm = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

// CheckBasePath returns a base path as it is used, without a slash at its end, "" for the root; an error if it
// cannot be one.
func CheckBasePath(path string) (string, error) {
	path = strings.TrimRight(path, "/")
	if !basePathForm.MatchString(path) || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return "", fmt.Errorf("the base path %.60q must be like /iuworker: a slash, then letters, digits and ._~- between slashes", path)
	}
	return path, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Pool == nil {
		return c, errors.New("webui: Config.Pool is required")
	}
	var err error
	if c.BasePath, err = CheckBasePath(c.BasePath); err != nil {
		return c, fmt.Errorf("webui: %w", err)
	}
	if err := CheckEnvironment(c.Environment); err != nil {
		return c, fmt.Errorf("webui: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Client == nil {
		if c.Client, err = NewRiverClient(c.Pool, c.Logger); err != nil {
			return c, err
		}
	}
	return c, nil
}
