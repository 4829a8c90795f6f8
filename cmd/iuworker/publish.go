package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/metrics"
	webui "github.com/iu-core/iuworker/riverui"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker/publish"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
	"github.com/iu-core/iuworker/worker/publish/kafka"
	"github.com/iu-core/iuworker/worker/subscribe"
)

const (
	// publishStop is how long publish may take to end: what is in flight is acknowledged, and the consumer moves.
	publishStop = 10 * time.Second
	// dryRunMessages is how many messages --dry-run prints.
	dryRunMessages = 3
)

func (a *app) publishCommand() *cobra.Command {
	f := defaultPublishFlags()
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish every event to NATS JetStream or Kafka, in order, once",
		Long: `Carries every announced event to a stream of NATS JetStream, or to a topic of Kafka, in the order of positions and once,
until SIGTERM or Ctrl-C. It is a durable consumer: iuworker consumers shows it, and of several processes with one name one
is active. The stream says where to continue, so that nothing is lost or repeated, however often publisher, broker and
database are killed. If the broker is away, events stay in the database, and publish waits. It exits 1 if the history was
rewound or pruned, if the stream is not for this database alone, and if the broker refuses the login.`,
		Example: `  iuworker publish --nats nats://n1,nats://n2 --create-stream --replicas 3
  iuworker publish --nats tls://nats.example.com --creds-file /etc/iuworker/nats.creds --stream SHOP
  iuworker publish --kafka b1:9092,b2:9092 --topic iu.shop --create-stream --replicas 3
  iuworker publish --nats nats://n1 --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd, a.getenv); err != nil {
				return err
			}
			at, err := a.addresses(cmd)
			if err != nil {
				return err
			}
			at.size(commandPool, false)
			if f.dryRun {
				return a.dryRunPublish(cmd.Context(), at, f)
			}
			a.logger = a.log.logger(a.stderr, a.getenv, toldLevel)
			a.tells = true
			return untilSignal(cmd.Context(), a.publish(cmd.Context(), at, f))
		},
	}
	takesSettings(cmd)
	f.register(cmd)
	return a.withJSON(cmd)
}

// publish publishes, and serves probes and metrics, until ctx is done or one of them fails.
func (a *app) publish(ctx context.Context, at addresses, f publishFlags) error {
	a.ending.allow(publishStop)
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), at.pool)
	if err != nil {
		return fmt.Errorf("open the connection pool: %w", err)
	}
	defer a.stopping(ctx, "the connection pool", pool.Close)
	defer a.rereadAtHangup(ctx, at, f.access)()
	p := &publication{app: a, pool: pool, at: at, flags: f, waiting: waiting{what: "Publisher", logger: a.logger}}
	registry := metrics.NewRegistry(metrics.Config{
		Database: metrics.DatabaseOf(at.pool.ConnConfig), Version: iusql.ProgramVersion, Logger: a.logger,
	})
	gatherer := a.gatherer(func() []prometheus.Gatherer { return []prometheus.Gatherer{registry} })
	p.metrics = metrics.NewPublisher(registry, p.brokerUp)
	handler, err := webui.NewPublisher(webui.Config{
		Pool: pool, Ready: p.ready, Credentials: f.access.credentials, Metrics: metrics.Handler(gatherer, a.logger),
		MetricsTokens: f.access.metrics, MetricsOpen: f.metrics.open, Version: iusql.ProgramVersion, Logger: a.logger,
	})
	if err != nil {
		return configured(err)
	}
	probes, err := webui.Listen(ctx, f.httpAddr, handler)
	if err != nil {
		return configured(err)
	}
	failed := make(chan error, 1)
	stopProbes := serveInBackground(ctx, probes, failed)
	defer a.stopping(ctx, "the probes", stopProbes)

	publishing, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.run(publishing) }()
	select {
	case err := <-ended:
		return err
	case err := <-failed:
		stop()
		return errors.Join(err, <-ended)
	}
}

// dryRunPublish prints what publish would do.
func (a *app) dryRunPublish(ctx context.Context, at addresses, f publishFlags) error {
	pool, err := connect(ctx, at.pool)
	if err != nil {
		return err
	}
	defer closePool(pool)
	p := &publication{app: a, pool: pool, at: at, flags: f}
	ctx, cancel := context.WithTimeout(ctx, quickly)
	defer cancel()
	publisher, stop, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer stop()
	plan, err := publisher.Plan(ctx, dryRunMessages)
	if err != nil {
		return err
	}
	return a.printPlan(p.describe(plan))
}

// publication is a run of publish.
type publication struct {
	app     *app
	pool    *pgxpool.Pool
	at      addresses
	flags   publishFlags
	metrics *metrics.Publisher
	log     string // the log's name, for people
	waiting waiting

	current shared[*publish.Publisher]
}

// run waits for the database, and publishes.
func (p *publication) run(ctx context.Context) error {
	var publisher *publish.Publisher
	var stop func()
	err := p.waiting.until(ctx, func(ctx context.Context) (err error) {
		publisher, stop, err = p.open(ctx)
		return err
	})
	switch {
	case ctx.Err() != nil && err != nil:
		return nil // the user ended it
	case err != nil:
		return err
	}
	defer stop()
	return p.follow(ctx, publisher)
}

// follow publishes until ctx ends, and shows on a terminal how far it is behind.
func (p *publication) follow(ctx context.Context, publisher *publish.Publisher) error {
	p.current.set(publisher)
	p.app.logger.InfoContext(ctx, "Publisher: started", slog.String("to", p.log), slog.String("version", iusql.ProgramVersion))
	watching, end := context.WithCancel(ctx)
	defer end()
	if isTerminal(p.app.stderr) {
		go p.app.watchPublishing(watching, p.pool, p.flags.consumerName())
	}
	return publisher.Run(ctx)
}

// open prepares a publisher. It asks the database, not the broker.
func (p *publication) open(ctx context.Context) (publisher *publish.Publisher, stop func(), err error) {
	asking, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := p.app.checkSchema(asking, p.pool); err != nil {
		return nil, nil, err
	}
	identity, err := publish.Identify(asking, p.pool)
	if err != nil {
		return nil, nil, err
	}
	if err := p.app.warnOfTemplates(asking, p.pool, p.flags.filter.Templates); err != nil {
		return nil, nil, err
	}
	sink, stop, err := p.sink(identity)
	if err != nil {
		return nil, nil, configured(err)
	}
	page := 0 // the default
	if len(p.flags.kafka) > 0 {
		page = p.flags.window
	}
	publisher, err = publish.New(publish.Config{
		Page: page,
		Pool: p.pool, Direct: p.at.direct, Sink: sink, Consumer: p.flags.consumerName(), Source: identity.Source, Filter: p.flags.filter,
		From: p.flags.start, Decides: p.flags.start != (subscribe.Start{}), ContinueRewound: p.flags.onRewind == rewindContinue, MaxTries: p.flags.maxTries,
		Metrics: p.metrics, Logger: p.app.logger,
	})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return publisher, stop, nil
}

func (p *publication) sink(identity publish.Identity) (publish.Sink, func(), error) {
	if len(p.flags.kafka) > 0 {
		return p.kafkaSink(identity)
	}
	f := p.flags
	stream := cmp.Or(f.stream, jetstream.StreamOf(identity.Database))
	p.log = "NATS JetStream, stream " + stream
	sink, err := jetstream.New(jetstream.Config{
		Servers: f.nats, Stream: stream, Create: f.createStream && !f.dryRun, Replicas: f.replicas, Subject: f.subject, Database: identity.Database,
		Content: f.contentKind(), Window: f.window, AckTimeout: f.ackTimeout, Name: "iuworker publish " + f.consumerName(),
		Login: jetstream.Login{
			CredsFile: f.credsFile, User: f.user, Password: f.password, CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile,
		},
		Metrics: p.metrics, Logger: p.app.logger,
	})
	if err != nil {
		return nil, nil, err
	}
	return sink, sink.Close, nil
}

func (p *publication) kafkaSink(identity publish.Identity) (publish.Sink, func(), error) {
	f := p.flags
	p.log = "Kafka, topic " + f.topic
	brokers, tls := f.kafkaBrokers()
	sink, err := kafka.New(kafka.Config{
		Brokers: brokers, Topic: f.topic, Create: f.createStream && !f.dryRun, Replicas: f.replicas, Consumer: f.consumerName(), Source: identity.Source,
		Key: kafka.Key(f.key), Content: f.contentKind(), AckTimeout: f.ackTimeout,
		Login: kafka.Login{
			SASL: f.sasl, User: f.user, Password: f.password, TLS: tls, CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile,
		},
		Metrics: p.metrics, Logger: p.app.logger,
	})
	if err != nil {
		return nil, nil, err
	}
	return sink, sink.Close, nil
}

func (p *publication) brokerUp() bool {
	publisher := p.current.get()
	return publisher != nil && publisher.BrokerUp()
}

func (p *publication) ready(ctx context.Context) error {
	publisher := p.current.get()
	if publisher == nil {
		return cmp.Or(p.waiting.why(), errors.New("starting"))
	}
	return publisher.Ready(ctx)
}
