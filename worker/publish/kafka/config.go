package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/iu-core/iuworker/internal/metrics"
	"github.com/iu-core/iuworker/worker/publish"
)

// Config configures a Sink. The zero value of a field means its default.
type Config struct {
	// Brokers are addresses of brokers, host:port. One that can be reached is enough. Required.
	Brokers []string

	// Topic takes the events. Required.
	Topic string

	// Create makes Topic and its cursor topic if they are missing, with Replicas copies (default 1) and the broker's default number of
	// partitions. Topics that exist are never altered.
	Create   bool
	Replicas int

	// Consumer is the durable consumer's name, and Source the CloudEvents source of the database. Required.
	Consumer, Source string

	// Key says which events stay in order: those of one key. Default: subject.
	Key Key

	// Content is what a message carries. Default: the event as CloudEvents JSON.
	Content publish.Content

	// AckTimeout bounds a transaction, and other requests. Default 5 s.
	AckTimeout time.Duration

	// Login says how to connect.
	Login Login

	// Metrics counts. Default: nothing does.
	Metrics *metrics.Publisher

	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

// Key says what a message's key is.
type Key string

// The keys.
const (
	KeySubject  Key = "subject"  // the instance's key
	KeyEvent    Key = "event"    // the id of the application's event
	KeyTemplate Key = "template" // the template's key
	KeyActor    Key = "actor"
	KeyNone     Key = "none" // spread over all partitions
)

// Login says how to connect. Files are read again for each connection.
type Login struct {
	// SASL is plain, scram-sha-256 or scram-sha-512. Default: none.
	SASL string
	// User and Password are for SASL.
	User     string
	Password func() (string, error)
	// TLS encrypts connections. CAFile holds the authorities to trust, CertFile and KeyFile the client's certificate.
	TLS                       bool
	CAFile, CertFile, KeyFile string
}

// The mechanisms of SASL.
const (
	SASLPlain       = "plain"
	SASLScramSHA256 = "scram-sha-256"
	SASLScramSHA512 = "scram-sha-512"
)

const defaultAckTimeout = 5 * time.Second

var topicForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,240}$`)

// CheckTopic returns an error if a text cannot be the name of a topic.
func CheckTopic(name string) error {
	if !topicForm.MatchString(name) || name == "." || name == ".." {
		return errors.New("it must be 1 to 240 letters, digits and . _ -")
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Brokers) == 0 || c.Consumer == "" || c.Source == "" {
		return c, errors.New("kafka: Config.Brokers, Topic, Consumer and Source are required")
	}
	if err := CheckTopic(c.Topic); err != nil {
		return c, fmt.Errorf("kafka: Config.Topic: %w", err)
	}
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.Key = cmp.Or(c.Key, KeySubject)
	c.AckTimeout = cmp.Or(c.AckTimeout, defaultAckTimeout)
	if c.Metrics == nil {
		c.Metrics = metrics.NewPublisher(prometheus.NewRegistry(), nil)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// options are those of every client.
func (c Config) options() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("iuworker"), kgo.DialTimeout(min(c.AckTimeout, 5*time.Second)), kgo.RetryTimeout(c.AckTimeout),
		kgo.RequestTimeoutOverhead(c.AckTimeout),
	}
	if c.Login.TLS {
		config, err := publish.TLSConfig(c.Login.CAFile, c.Login.CertFile, c.Login.KeyFile)
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	mechanism, err := c.Login.mechanism()
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

func (l Login) mechanism() (sasl.Mechanism, error) {
	password := func() (string, error) {
		if l.Password == nil {
			return "", nil
		}
		return l.Password()
	}
	forScram := func(context.Context) (scram.Auth, error) {
		text, err := password()
		return scram.Auth{User: l.User, Pass: text}, err
	}
	switch l.SASL {
	case "":
		return nil, nil //nolint:nilnil // none is wanted
	case SASLPlain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			text, err := password()
			return plain.Auth{User: l.User, Pass: text}, err
		}), nil
	case SASLScramSHA256:
		return scram.Sha256(forScram), nil
	case SASLScramSHA512:
		return scram.Sha512(forScram), nil
	}
	return nil, fmt.Errorf("kafka: Login.SASL: unknown mechanism %q", l.SASL)
}
