package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/demo"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/pgserver"
	webui "github.com/iu-core/iuworker/riverui"
	iusql "github.com/iu-core/iuworker/sql"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// demoPatience is how long the demo waits for the worker, and then for its twelve instances. Both take a fraction of a second,
// and much longer on a machine that is busy with other work.
const demoPatience = time.Minute

func (a *app) demoCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole pipeline once: outbox row in, instance composed, event out",
		Long: `Starts its own PostgreSQL, unless a database is given by --database-url, IUWORKER_DATABASE_URL or DATABASE_URL; migrates
it, opens the gates, creates a template, inserts twelve outbox rows as an application would, and shows what was composed
and what a plain LISTEN client received. A given database must be empty or made by a demo.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s, err := a.setStage(cmd.Context(), cmd, yes, pgserver.Config{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			return a.demo(cmd.Context(), s)
		},
	}
	yesFlag(cmd, &yes)
	return a.withJSON(cmd)
}

func yesFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "yes", false, "allow a non-empty database: migrate it, open its gates, compose in it")
}

// errDemoShown stops the worker when the demo is over.
var errDemoShown = errors.New("the demo is over")

func (a *app) demo(ctx context.Context, s *stage) error {
	f := defaultWorkFlags()
	f.httpAddr = webui.Off
	s.at.size(f.poolSize, false)
	err := a.serve(ctx, s.at, f, access{}, func(ctx context.Context, _ string) error {
		shown, err := a.showDemo(ctx, s)
		if err != nil {
			return err
		}
		return errors.Join(a.print(shown, shown.write), errDemoShown)
	})
	if errors.Is(err, errDemoShown) {
		return nil
	}
	return err
}

// showDemo inserts events, and waits until they are composed and received.
func (a *app) showDemo(ctx context.Context, s *stage) (*demoResult, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	pool, err := connect(ctx, s.at.pool)
	if err != nil {
		return nil, err
	}
	defer closePool(pool)
	listener, err := demo.Listen(ctx, s.at.direct)
	if err != nil {
		return nil, err
	}
	defer listener.Close(context.WithoutCancel(ctx))
	orders, committed, err := demo.Insert(ctx, pool)
	if err != nil {
		return nil, err
	}
	waitErr := listener.Wait(ctx, orders, committed)
	if waitErr != nil && !errors.Is(waitErr, context.DeadlineExceeded) {
		return nil, waitErr
	}
	return s.compare(context.WithoutCancel(ctx), pool, orders, listener.Received)
}

func (s *stage) compare(ctx context.Context, pool *pgxpool.Pool, orders []demo.Order, received int) (*demoResult, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	composed, err := demo.Compare(ctx, pool, orders)
	if err != nil {
		return nil, err
	}
	if composed < len(orders) || received < len(orders) {
		return nil, fmt.Errorf("of %d events %d were composed and %d received within %s; run it again with --log-level info to see why",
			len(orders), composed, received, demoPatience)
	}
	slices.SortFunc(orders, func(a, b demo.Order) int {
		left, _ := subscribe.ParseCursor(a.Cursor) // an order that was not received has none, and comes first
		right, _ := subscribe.ParseCursor(b.Cursor)
		return cmp.Compare(left.Position, right.Position)
	})
	return &demoResult{
		Postgres: serverVersion(s.postgres), Embedded: s.server != nil, Schema: iusql.SchemaVersion, Template: demo.TemplateKey,
		Inserted: len(orders), Composed: composed, Received: received, Orders: orders,
	}, nil
}

type demoResult struct {
	Postgres string       `json:"postgres"`
	Embedded bool         `json:"embedded"`
	Schema   int          `json:"schema"`
	Template string       `json:"template"`
	Inserted int          `json:"inserted"`
	Composed int          `json:"composed"`
	Received int          `json:"received"`
	Orders   []demo.Order `json:"orders"`
}

// write writes eleven lines, which README.md shows.
func (r *demoResult) write(w io.Writer) {
	whose := "as given"
	if r.Embedded {
		whose = "of its own"
	}
	last := slices.MaxFunc(r.Orders, func(a, b demo.Order) int { return int(1000 * (a.AfterMS - b.AfterMS)) })
	fmt.Fprintf(w, "database  PostgreSQL %s, %s; schema %d; gates open\n", r.Postgres, whose, r.Schema)
	fmt.Fprintf(w, "template  %s, %d pieces\n", r.Template, r.Orders[0].Pieces)
	fmt.Fprintf(w, "inserted  %d rows into iu_outbox.event, in one transaction\n", r.Inserted)
	fmt.Fprintf(w, "composed  %d instances\n", r.Composed)
	fmt.Fprintf(w, "received  %d events by LISTEN %q, the last %.0f ms after the commit\n", r.Received, names.EventType, last.AfterMS)
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "  EVENT\tINSTANCE\tCURSOR\tRECEIVED AFTER")
		for i, order := range r.Orders {
			switch {
			case i < 2 || i == len(r.Orders)-1:
				fmt.Fprintf(w, "  %s\t%s\t%s\t%.1f ms\n", order.EventID, order.InstanceKey, order.Cursor, order.AfterMS)
			case i == 2:
				fmt.Fprintf(w, "  … %d more\n", len(r.Orders)-3)
			}
		}
	})
}

func (a *app) devCommand() *cobra.Command {
	var yes, tcp bool
	var dataDir string
	f := defaultWorkFlags()
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the demo and keep running, with the pages, to try things",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if _, given := a.source(); given && (dataDir != "" || tcp) {
				return usage(cmd, "--data-dir and --tcp are for the server that dev starts, and a database is given")
			}
			who, err := f.resolve(cmd, a.getenv)
			if err != nil {
				return err
			}
			s, err := a.setStage(cmd.Context(), cmd, yes, pgserver.Config{DataDir: dataDir, TCP: tcp})
			if err != nil {
				return err
			}
			defer func() { err = untilSignal(cmd.Context(), errors.Join(err, s.close())) }()
			f.worker.Given = givenSettings(cmd, s.at)
			s.at.size(f.poolSize, given(cmd, "pool-size"))
			return a.serve(cmd.Context(), s.at, f, who, func(ctx context.Context, pages string) error {
				shown, err := a.showDemo(ctx, s)
				if err != nil {
					return err
				}
				return a.print(devResult{demoResult: shown, Pages: pages, Database: s.shown()}, func(w io.Writer) {
					fmt.Fprintf(w, "export IUWORKER_DATABASE_URL=%s\n\n", shellQuoted(s.shown()))
					shown.write(w)
					writeDev(w, s, pages, who)
				})
			})
		},
	}
	takesSettings(cmd)
	f.register(cmd, ofDev)
	cmd.Flags().BoolVar(&tcp, "tcp", false,
		"listen on a loopback port, which every user of this machine can reach, instead of a socket only for this user")
	cmd.Flags().Var(textValue(&dataDir, pathMax), "data-dir", "directory for the server's data (default a new one, removed at the end)")
	yesFlag(cmd, &yes)
	return a.withJSON(cmd)
}

type devResult struct {
	*demoResult

	Pages    string `json:"pages,omitempty"`
	Database string `json:"database"`
}

func writeDev(w io.Writer, s *stage, pages string, access access) {
	fmt.Fprintln(w)
	if pages != "" {
		fmt.Fprintf(w, "pages     %s\n", pages)
	}
	fmt.Fprintf(w, "psql      psql %s\n", shellQuoted(s.shown()))
	id := uuid.New()
	fmt.Fprintf(w, "insert    SELECT iu_outbox.add_event(template => '%s', event_type => 'order.placed',\n"+
		"          event_id => '%s', suffix => 'my-order-%.8s');\n", demo.TemplateKey, id, id)
	fmt.Fprintln(w, "subscribe iuworker subscribe")
	fmt.Fprintf(w, "listen    LISTEN %q;\n", names.EventType)
	if pages != "" {
		fmt.Fprintf(w, "follow    %s\n", access.curl(pages))
	}
	fmt.Fprintln(w, "Ctrl-C ends it.")
}

// shown returns the address of the database without a password.
func (s *stage) shown() string {
	return cmp.Or(s.address, addressOf(s.at.pool.ConnConfig))
}

// shellQuoted quotes a text for a POSIX shell.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
