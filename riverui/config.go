package webui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config configures a Handler. The zero value of a field means its default.
type Config struct {
	// Pool is the database that the pages show and change. Required, unless Databases is set.
	Pool *pgxpool.Pool

	// Databases returns the databases that the process works on, in the order in which the index shows them. If it is set, New
	// returns a handler of the index, which serves their handlers below /d/NAME/, and of the fields about one database it uses
	// none. Default: there is one database.
	Databases func() []Database

	// Name is the name of the database among several, and Index the path of their index. Default: it is the only one.
	Name, Index string

	// Direct is the address on which a worker listens, for the checks of Health. Default: the pool's address.
	Direct *pgx.ConnConfig

	// Ready returns why the worker cannot work, or nil if it can. /readyz calls it with a timeout of 2 s, and once for all
	// requests that arrive at the same time. Default: always ready.
	Ready func(ctx context.Context) error

	// BasePath is where a proxy mounts the pages, such as /iuworker. The probes are served below it and at the root.
	// Default: the root.
	BasePath string

	// Credentials lists who may see the pages and who may change something. Default: everybody on this machine may do
	// everything, and requests from other machines are refused.
	Credentials *Credentials

	// Metrics is served at /metrics, and Events, an eventstream.Handler, at /v1/events. Default: nothing is.
	Metrics, Events http.Handler

	// EventsTokens lists the tokens with which programs may follow the events, besides Credentials. With tokens and without
	// Credentials, the events require a token. Default: none.
	EventsTokens *Tokens

	// MetricsTokens lists the tokens with which scrapers may read the metrics, besides Credentials. With tokens and without
	// Credentials, the metrics require a token. Default: none.
	MetricsTokens *Tokens

	// MetricsOpen lets everybody who reaches a handler of NewMetrics or NewPublisher read the metrics. New ignores it: the
	// metrics beside the pages are never open to other machines. Default: they are open on this machine alone.
	MetricsOpen bool

	// Environment names the installation in header and title, such as production: at most 20 characters. Default: no name.
	Environment string

	// Version is the program's version, for the pages.
	Version string

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

var basePathForm = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

// CheckBasePath returns a base path without a slash at its end, "" for the root, or an error if it is not valid.
func CheckBasePath(path string) (string, error) {
	path = strings.TrimRight(path, "/")
	if !basePathForm.MatchString(path) || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return "", fmt.Errorf("the base path %.60q must be like /iuworker: a slash, then letters, digits and ._~- between slashes", path)
	}
	return path, nil
}

// CheckEnvironment returns an error if text cannot name an environment.
func CheckEnvironment(text string) error {
	if utf8.RuneCountInString(text) > 20 || printable(text) != text {
		return errors.New("the name of an environment has at most 20 characters, and is one line")
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Pool == nil && c.Databases == nil {
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
	return c, nil
}

// logSecrets makes the files of secrets log by the handler's logger.
func (c Config) logSecrets() {
	if c.Credentials != nil {
		c.Credentials.logger.Store(c.Logger)
	}
	for _, tokens := range []*Tokens{c.EventsTokens, c.MetricsTokens} {
		if tokens != nil {
			tokens.logger.Store(c.Logger)
		}
	}
}
