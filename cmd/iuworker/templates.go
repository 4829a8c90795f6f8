package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/templates"
)

func (a *app) templatesCommand() *cobra.Command {
	var after string
	var more bool
	limit := 100
	cmd := &cobra.Command{
		Use:   "templates",
		Short: "List, show, create or mark templates",
		Long:  `Lists the templates by key: pieces, version, number of instances, and when the last one was composed.`,
		Example: `  iuworker templates
  iuworker templates show welcome-letter
  iuworker templates create welcome-letter --title 'Welcome letter' welcome/greeting welcome/terms`,
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, _ []string) (lines []templates.Line, err error) {
			lines, err = templates.List(ctx, pool, after, limit+1)
			lines, more = firstOf(lines, limit)
			return lines, err
		}, func(w io.Writer, lines []templates.Line) { writeTemplates(w, lines, more) }),
	}
	cmd.Flags().Var(intValue(&limit, 1, 10_000), "limit", "number of templates to list")
	cmd.Flags().Var(textValue(&after, 1000), "after", "list the templates that sort after this key")
	return holds(a.withJSON(cmd), a.templatesShowCommand(), a.templatesCreateCommand(), a.templatesMarkCommand())
}

func writeTemplates(w io.Writer, lines []templates.Line, more bool) {
	const none = "no templates; to create one, run: iuworker templates create KEY --title TITLE PIECE..."
	table(w, lines, none, "KEY\tTITLE\tPIECES\tVERSION\tINSTANCES\tLAST", func(w io.Writer, line templates.Line) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\n", oneLine(&line.Key), oneLine(line.Title), line.Pieces,
			ifKnown(line.Version, strconv.Itoa), line.Instances, ifKnown(line.LastAt, stamp))
	})
	if more {
		fmt.Fprintf(w, "there are more; to list them, run: iuworker templates --after %s\n", shellWord(lines[len(lines)-1].Key))
	}
}

func (a *app) templatesShowCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:               "show TEMPLATE",
		Short:             "Show a template's pieces and versions",
		Args:              oneTemplate,
		ValidArgsFunction: a.completes(templates.Keys),
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) (templates.Detail, error) {
			return templates.Show(ctx, pool, args[0])
		}, writeTemplate),
	})
}

func writeTemplate(w io.Writer, d templates.Detail) {
	columns(w, func(w io.Writer) {
		fmt.Fprintf(w, "key\t%s\n", flat(d.Key))
		fmt.Fprintf(w, "id\t%s\n", d.ID)
		fmt.Fprintf(w, "title\t%s\n", oneLine(d.Title))
		fmt.Fprintf(w, "instances\t%d", d.Instances)
		if d.LastAt != nil {
			fmt.Fprintf(w, ", the last at %s", stamp(*d.LastAt))
		}
		fmt.Fprintln(w)
		for _, v := range d.Versions {
			fmt.Fprintf(w, "version %d\t%s\n", v.Version, oneLine(v.Digest))
		}
		for i, key := range d.PieceKeys {
			fmt.Fprintf(w, "piece %d\t%s\n", i+1, oneLine(&key))
		}
		if len(d.PieceKeys) == 0 {
			fmt.Fprintln(w, "pieces\tnone: its events end as template_empty")
		}
	})
}

func (a *app) templatesCreateCommand() *cobra.Command {
	var title, actor string
	cmd := &cobra.Command{
		Use:   "create KEY --title TITLE PIECE...",
		Short: "Create a template from pieces",
		Long: `Composes a collection of existing pieces, named by their keys in the given order, and marks it as a template. The gate
composer must be open. Use a login that owns iu-core or may call its functions.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage(cmd, "%s needs a key and at least one piece", spoken(cmd))
			}
			return checkKeys(cmd, args...)
		},
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) (operate.MarkedTemplate, error) {
			return operator(pool, actor).CreateTemplate(ctx, args[0], title, args[1:])
		}, func(w io.Writer, marked operate.MarkedTemplate) { writeMarked(w, "created", marked) }),
	}
	cmd.Flags().Var(textValue(&title, 1000), "title", "title of the collection")
	requireFlags(cmd, "title")
	auditFlag(cmd, &actor)
	return a.withJSON(cmd)
}

func (a *app) templatesMarkCommand() *cobra.Command {
	var off bool
	var actor string
	cmd := &cobra.Command{
		Use:   "mark KEY",
		Short: "Mark a collection as a template",
		Long: `Marks an existing collection as a template, and records a new version if its content changed. --off unmarks it: its events
then end as template_not_marked.`,
		Args:              oneTemplate,
		ValidArgsFunction: a.completes(templates.Keys),
		RunE: query(a, func(ctx context.Context, pool *pgxpool.Pool, args []string) (operate.MarkedTemplate, error) {
			return operator(pool, actor).MarkTemplate(ctx, args[0], !off)
		}, func(w io.Writer, marked operate.MarkedTemplate) {
			did := "marked"
			if off {
				did = "unmarked"
			}
			writeMarked(w, did, marked)
		}),
	}
	cmd.Flags().BoolVar(&off, "off", false, "unmark it instead")
	auditFlag(cmd, &actor)
	return a.withJSON(cmd)
}

func writeMarked(w io.Writer, did string, marked operate.MarkedTemplate) {
	fmt.Fprintf(w, "%s %s", did, flat(marked.Key))
	if marked.Version != nil && marked.IsTemplate {
		fmt.Fprintf(w, ", version %d", *marked.Version)
	}
	fmt.Fprintln(w)
}

var oneTemplate = oneArgument("the collection key of a template", "template", func(cmd *cobra.Command, key string) error {
	return checkKeys(cmd, key)
})

func checkKeys(cmd *cobra.Command, keys ...string) error {
	for _, key := range keys {
		if strings.TrimSpace(key) == "" || !validText(key) {
			return usage(cmd, "%s is not a key", quoted(key))
		}
	}
	return nil
}
