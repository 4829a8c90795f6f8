package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
	"github.com/iu-core/iuworker/worker/publish/kafka"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	rewindStop        = "stop"
	rewindContinue    = "continue"
	contentStructured = "structured"
	contentBinary     = "binary"

	natsConsumer  = "publish-nats"
	kafkaConsumer = "publish-kafka"

	// passwordVariable holds the password of --user, for installations without files.
	passwordVariable = "IUWORKER_PASSWORD"
)

// publishFlags are the settings of publish.
type publishFlags struct {
	nats, kafka []string
	consumer    string
	filter      subscribe.Filter
	from        string
	start       subscribe.Start

	stream       string
	createStream bool
	replicas     int
	subject      string

	topic, key, sasl string

	content    string
	window     int
	ackTimeout time.Duration
	onRewind   string
	maxTries   int

	credsFile, user, passwordFile string
	caFile, certFile, keyFile     string

	dryRun          bool
	httpAddr        string
	credentialsFile string
	metrics         metricsAccess

	// Of check:
	password func() (string, error) // nil: none
	access   access
}

func defaultPublishFlags() publishFlags {
	return publishFlags{
		replicas: 1, subject: jetstream.DefaultSubject, key: string(kafka.KeySubject), content: contentStructured, window: jetstream.DefaultWindow,
		ackTimeout: jetstream.DefaultAckTimeout, onRewind: rewindStop, httpAddr: webui.DefaultPublisherAddr,
	}
}

func (f *publishFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(serversValue(&f.nats, "nats", "nats", "tls", "ws", "wss"), "nats",
		"servers of NATS, separated by commas, such as nats://n1:4222,nats://n2 or tls://nats.example.com")
	flags.Var(serversValue(&f.kafka, "kafka", "kafka", "tls"), "kafka", "brokers of Kafka, separated by commas, such as b1:9092,b2:9092 or tls://b1:9093")
	flags.Var(consumerValue(&f.consumer), "consumer", "name of the durable consumer (default "+natsConsumer+" or "+kafkaConsumer+")")
	flags.Var(textsValue(&f.filter.Templates, 1000), "template", "only events of this template (collection key or id); repeatable")
	flags.Var(textsValue(&f.filter.Actors, actorMax), "actor", "only events of this actor; repeatable")
	flags.Var(textsValue(&f.filter.EventTypes, 200), "event-type", "only events of this type, such as order.placed; repeatable")
	flags.Var(choiceValue(&f.from, "beginning", "now"), "from",
		"where a new consumer begins, and one whose stream was recreated (default the oldest retained event)")
	flags.Var(startValue(&f.start, sinceKind, since), "since", "begin at the first event announced since a time or a duration ago: 2026-12-31T18:00:00Z, 2h")

	flags.Var(stringValue(&f.stream, "name", jetstream.CheckStream), "stream",
		"NATS: the stream, which must be for this database alone (default IU_<DATABASE>)")
	flags.Var(stringValue(&f.subject, "subject", jetstream.CheckSubject), "subject",
		"NATS: subject of the messages, with {database}, {template}, {actor} and {event_type}")
	flags.Var(stringValue(&f.topic, "name", kafka.CheckTopic), "topic", "Kafka: the topic; its cursors are in the topic NAME.cursor")
	flags.Var(choiceValue(&f.key, string(kafka.KeySubject), string(kafka.KeyEvent), string(kafka.KeyTemplate), string(kafka.KeyActor),
		string(kafka.KeyNone)), "key", "Kafka: key of the messages; events of one key stay in order")
	flags.BoolVar(&f.createStream, "create-stream", false, "create the stream, or the topics, if missing; what exists is never altered")
	flags.Var(intValue(&f.replicas, 1, 5), "replicas", "with --create-stream: how many servers keep a copy")

	flags.Var(choiceValue(&f.content, contentStructured, contentBinary), "content",
		"what a message carries: the event as CloudEvents JSON, or its data alone with attributes in headers")
	flags.Var(intValue(&f.window, 1, 10_000), "window", "maximum number of messages in flight, or in a transaction of Kafka")
	flags.Var(durationValue(&f.ackTimeout, 100*time.Millisecond, time.Minute), "ack-timeout",
		"how long to wait for an acknowledgement before the stream is asked again")
	flags.Var(choiceValue(&f.onRewind, rewindStop, rewindContinue), "on-rewind",
		"if the history was rewound: exit, or continue after the last position that stream and history have in common")
	flags.Var(intValue(&f.maxTries, 0, 1_000_000), "max-tries",
		"how often an event may be refused, such as one that is too large, before it becomes a dead letter; 0 = retry for ever")

	flags.Var(textValue(&f.credsFile, pathMax), "creds-file", "file with the credentials of NATS: a JWT and its NKey seed, or an NKey seed")
	flags.Var(textValue(&f.user, 1000), "user", "user of the broker")
	flags.Var(choiceValue(&f.sasl, kafka.SASLPlain, kafka.SASLScramSHA256, kafka.SASLScramSHA512), "sasl", "Kafka: how --user logs in")
	flags.Var(textValue(&f.passwordFile, pathMax), "password-file", "file with the user's password; or give it in "+passwordVariable)
	flags.Var(textValue(&f.caFile, pathMax), "tls-ca-file", "file with the certificates of the authorities to trust (default the system's)")
	flags.Var(textValue(&f.certFile, pathMax), "tls-cert-file", "file with the client's certificate")
	flags.Var(textValue(&f.keyFile, pathMax), "tls-key-file", "file with the key of that certificate")

	flags.BoolVar(&f.dryRun, "dry-run", false, "print where the stream ends, the consumer's position and the first three messages; send nothing")
	flags.Var(addrValue(&f.httpAddr), "http-addr", "host:port of /healthz, /readyz and /metrics, or off")
	flags.Var(textValue(&f.credentialsFile, pathMax), "http-credentials-file",
		"file of the users who may read the metrics, one role:user:password per line; or give its lines in "+credentialsVariable)
	flags.Var(textValue(&f.metrics.tokens, pathMax), "metrics-token-file", metricsTokensHelp)
	flags.BoolVar(&f.metrics.open, "metrics-open", false, "let everybody who reaches --http-addr read the metrics: no token, no password")
	excludeFlags(cmd, "nats", "kafka", "topic", "key", "sasl")
	excludeFlags(cmd, "kafka", "stream", "subject", "creds-file")
	excludeFlags(cmd, "from", "since")
	excludeFlags(cmd, "creds-file", "user", "password-file")
}

// serversValue is a list of addresses. The first scheme is that of an address without one.
func serversValue(to *[]string, what string, schemes ...string) *value[[]string] {
	example := map[string]string{"nats": "nats://n1:4222,nats://n2", "kafka": "b1:9092,b2:9092"}[what]
	return &value[[]string]{to, "addresses", func(text string) (servers []string, err error) {
		for server := range strings.SplitSeq(text, ",") {
			server = strings.TrimSpace(server)
			full := server
			if !strings.Contains(server, "://") {
				full = schemes[0] + "://" + server
			}
			parsed, err := url.Parse(full)
			switch {
			case strings.Contains(server, "@"):
				return nil, errors.New("it must not hold a user or a password: give --user and --password-file, or --creds-file")
			case err != nil || parsed.Hostname() == "" || !slices.Contains(schemes, parsed.Scheme):
				return nil, fmt.Errorf("it must be addresses such as %s, separated by commas", example)
			}
			servers = append(servers, full)
		}
		return servers, nil
	}, func(servers []string) string { return strings.Join(servers, ",") }}
}

// check reads the flags and the files that they name. What is wrong there is wrong usage.
func (f *publishFlags) check(cmd *cobra.Command, getenv func(string) string) (err error) {
	switch {
	case len(f.nats)+len(f.kafka) == 0:
		return usage(cmd, "--nats or --kafka is missing")
	case len(f.kafka) > 0 && f.topic == "":
		return usage(cmd, "--kafka needs --topic")
	case len(f.kafka) > 0 && (f.sasl == "") != (f.user == ""):
		return usage(cmd, "--sasl and --user belong together: give both")
	case f.passwordFile != "" && f.user == "":
		return usage(cmd, "--password-file needs --user")
	case (f.certFile == "") != (f.keyFile == ""):
		return usage(cmd, "--tls-cert-file and --tls-key-file belong together: give both")
	case given(cmd, "replicas") && !f.createStream:
		return usage(cmd, "--replicas is for a stream that is created: give --create-stream, too")
	}
	for flag, file := range map[string]string{
		"creds-file": f.credsFile, "password-file": f.passwordFile, "tls-ca-file": f.caFile, "tls-cert-file": f.certFile, "tls-key-file": f.keyFile,
	} {
		if file == "" {
			continue
		}
		if _, err := os.ReadFile(file); err != nil { //nolint:gosec // the user names it
			return usage(cmd, "--%s: %v", flag, errors.Unwrap(err))
		}
	}
	switch f.from {
	case "beginning":
		f.start = subscribe.Beginning()
	case "now":
		f.start = subscribe.Now()
	}
	f.password = f.passwordFrom(getenv)
	f.access.credentials, err = readSecrets(cmd, "--http-credentials-file", f.credentialsFile, credentialsVariable, getenv,
		webui.ReadCredentials, webui.ParseCredentials)
	if err == nil {
		f.access.metrics, err = f.metrics.read(cmd, getenv)
	}
	return err
}

// passwordFrom returns what reads the password for each connection; nil if there is none.
func (f *publishFlags) passwordFrom(getenv func(string) string) func() (string, error) {
	if f.passwordFile != "" {
		return func() (string, error) {
			text, err := os.ReadFile(f.passwordFile)
			if err != nil {
				return "", fmt.Errorf("--password-file: %w", err)
			}
			return strings.TrimRight(string(text), "\r\n"), nil
		}
	}
	password := getenv(passwordVariable)
	if f.user == "" || password == "" {
		return nil
	}
	return func() (string, error) { return password, nil }
}

func (f *publishFlags) consumerName() string {
	if len(f.kafka) > 0 {
		return cmp.Or(f.consumer, kafkaConsumer)
	}
	return cmp.Or(f.consumer, natsConsumer)
}

// kafkaBrokers returns the addresses without their schemes, and whether they want TLS.
func (f *publishFlags) kafkaBrokers() (brokers []string, tls bool) {
	tls = f.caFile != "" || f.certFile != ""
	for _, address := range f.kafka {
		scheme, host, _ := strings.Cut(address, "://")
		tls = tls || scheme == "tls"
		brokers = append(brokers, host)
	}
	return brokers, tls
}

func (f *publishFlags) contentKind() publish.Content {
	if f.content == contentBinary {
		return publish.Binary
	}
	return publish.Structured
}

// shared is a value that one goroutine sets and others read.
type shared[T any] struct {
	mu    sync.Mutex
	value T
}

func (s *shared[T]) set(value T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = value
}

func (s *shared[T]) get() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value
}
