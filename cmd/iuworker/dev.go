package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/demo"
	"github.com/iu-core/iuworker/internal/names"
	"github.com/iu-core/iuworker/internal/pgserver"
)

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
			who, err := f.access(cmd, a.getenv)
			if err != nil {
				return err
			}
			if err := f.readTracing(cmd, a.getenv); err != nil {
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

func writeDev(w io.Writer, s *stage, pages string, who access) {
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
		fmt.Fprintf(w, "follow    %s\n", who.curl(pages))
	}
	fmt.Fprintln(w, "Ctrl-C ends it.")
}

// shown returns the database's address without a password.
func (s *stage) shown() string {
	return cmp.Or(s.address, addressOf(s.at.pool.ConnConfig))
}

// shellQuoted quotes a text for a POSIX shell.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
