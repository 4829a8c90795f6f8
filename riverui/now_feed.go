package webui

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/status"
)

// feedShown is how many lines the page has room for.
const feedShown = 8

// feedLine is a change by an operator, or events that ended badly.
type feedLine struct {
	At   time.Time
	Text string
	Path string // the list that explains it
	Bad  bool   // an event ended badly
}

// readFeed returns changes by operators and events that ended badly, newest first.
func readFeed(ctx context.Context, tx pgx.Tx) ([]feedLine, error) {
	audit, err := operate.Audit(ctx, tx, 0, feedShown)
	if err != nil {
		return nil, err
	}
	failures, err := status.RecentFailures(ctx, tx, feedShown)
	if err != nil {
		return nil, err
	}
	var lines []feedLine
	for _, line := range auditLines(audit) {
		lines = append(lines, feedLine{At: line.At, Text: line.Text, Path: "/audit"})
	}
	for _, f := range failures {
		lines = append(lines, feedLine{At: f.At, Text: failureText(f), Path: failurePath(f), Bad: true})
	}
	slices.SortStableFunc(lines, func(a, b feedLine) int { return b.At.Compare(a.At) })
	return lines[:min(len(lines), feedShown)], nil
}

func failureText(f status.Failure) string {
	n := operate.Count{N: f.Count, More: f.More}
	if f.Consumer != "" {
		return fmt.Sprintf("%s gave up %s", f.Consumer, n.Of("event", "events"))
	}
	text := n.Of("dead letter", "dead letters") + " of " + f.Status
	if f.Actor != "" {
		text += " from " + f.Actor
	}
	return text
}

func failurePath(f status.Failure) string {
	if f.Consumer != "" {
		return "/consumers/" + url.PathEscape(f.Consumer)
	}
	return "/dead-letters?status=" + url.QueryEscape(f.Status)
}
