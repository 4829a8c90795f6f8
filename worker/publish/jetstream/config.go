package jetstream

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/worker/publish"
)

// Config configures a Sink. The zero value of a field means its default.
type Config struct {
	// Servers are addresses such as nats://n1:4222 or tls://n1; one that can be reached is used. Required.
	Servers []string

	// Stream is the stream's name. Default: IU_ and the name of the database, in upper case.
	Stream string

	// Create makes the stream if it is missing, with Replicas copies (default 1). A stream that exists is never altered.
	Create   bool
	Replicas int

	// Subject is the subject of a message, with placeholders: {database}, {template}, {actor}, {event_type}. Default
	// iu.{database}.{template}.
	Subject string

	// Database is the name of the database. Required.
	Database string

	// Content is what a message carries. Default: the event as CloudEvents JSON.
	Content publish.Content

	// Window is the most messages that are in flight. Default 512.
	Window int

	// AckTimeout is how long to wait for an acknowledgement while none comes, and for other replies. Default 5 s.
	AckTimeout time.Duration

	// Login says how to connect.
	Login Login

	// Name is the connection's name, for the operators of the server. Default iuworker.
	Name string

	// Metrics counts. Default: nothing does.
	Metrics *metrics.Publisher

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Login says how to connect. Files are read again for each connection.
type Login struct {
	// CredsFile holds a JWT and an NKey seed as nsc writes them, or an NKey seed alone.
	CredsFile string
	// User and Password are called for each connection. Nil: none.
	User     string
	Password func() (string, error)
	// CAFile holds the certificates of the authorities to trust. Default: the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate. Default: none.
	CertFile, KeyFile string
}

// Defaults of Config.
const (
	DefaultSubject    = "iu.{database}.{template}"
	DefaultWindow     = 512
	DefaultAckTimeout = 5 * time.Second
)

var notInNames = regexp.MustCompile(`[^A-Z0-9_-]`)

// StreamOf returns the default name of a database's stream.
func StreamOf(database string) string {
	return "IU_" + notInNames.ReplaceAllString(strings.ToUpper(database), "_")
}

var streamForm = regexp.MustCompile(`^[^\x00-\x20.*>/\\\x7f]{1,255}$`)

// CheckStream returns an error if a text cannot be the name of a stream.
func CheckStream(name string) error {
	if !streamForm.MatchString(name) {
		return errors.New("it must be 1 to 255 characters without blanks and without . * > / \\")
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Servers) == 0 || c.Database == "" {
		return c, errors.New("jetstream: Config.Servers and Database are required")
	}
	c.Stream = cmp.Or(c.Stream, StreamOf(c.Database))
	if err := CheckStream(c.Stream); err != nil {
		return c, fmt.Errorf("jetstream: Config.Stream: %w", err)
	}
	c.Subject = cmp.Or(c.Subject, DefaultSubject)
	if err := CheckSubject(c.Subject); err != nil {
		return c, fmt.Errorf("jetstream: Config.Subject: %w", err)
	}
	c.Window = cmp.Or(c.Window, DefaultWindow)
	c.AckTimeout = cmp.Or(c.AckTimeout, DefaultAckTimeout)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.Name = cmp.Or(c.Name, "iuworker")
	if c.Metrics == nil {
		c.Metrics = metrics.NewPublisher(prometheus.NewRegistry(), nil)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}
