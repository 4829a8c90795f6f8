package webui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/history"
	"github.com/iu-core/iuworker/internal/operate/status"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// consumerRow is a consumer as the pages show it.
type consumerRow struct {
	subscribe.Consumer

	Mark, Kind string // its state in a word or two, and the class of the mark; "" if it is well
	Says       string // the state in a sentence
	Spark      *spark // its lag over time; nil: not known

	rank int // the worst has the lowest
}

// Path leads to the consumer's page.
func (c consumerRow) Path() string { return consumerPath(c.Name) }

// Behind returns the lag in events; "–" if the position is lost.
func (c consumerRow) Behind() string { return number(c.LagEvents) }

// Waits returns how long the first event has been waiting; "" if none does.
func (c consumerRow) Waits() string {
	if c.LagEvents == nil || *c.LagEvents == 0 || c.LagSeconds == nil {
		return ""
	}
	return seconds(*c.LagSeconds)
}

// Note returns what the mark does not already tell.
func (c consumerRow) Note() string {
	if c.rank == 2 || c.rank == 4 {
		return ""
	}
	return c.Says
}

// consumerRowOf judges a consumer.
func consumerRowOf(c subscribe.Consumer) consumerRow {
	row := consumerRow{Consumer: c}
	result, says := status.JudgeConsumer(c)
	row.Says = says
	late := c.LagEvents != nil && *c.LagEvents > 0 && c.LagSeconds != nil
	switch {
	case c.State == "pruned":
		row.Mark, row.Kind, row.rank = "events pruned", "bad", 0
	case c.State != "ok":
		row.Mark, row.Kind, row.rank = "position lost", "bad", 0
	case c.Expiring:
		row.Mark, row.Kind, row.rank = "expires in "+seconds(*cmp.Or(c.ExpiresSeconds, new(float64))), "bad", 1
	case result == operate.HealthOK:
		row.rank = 7
		if late {
			row.rank = 6
		}
	case c.Tries > 0:
		row.Mark, row.Kind, row.rank = fmt.Sprintf("failing, try %d", c.Tries), "closed", 3
	case late && c.Process == nil:
		row.Mark, row.Kind, row.rank = "behind, no process", "closed", 2
	case late && *c.LagSeconds > 300:
		row.Mark, row.Kind, row.rank = "behind", "closed", 4
	default:
		row.Mark, row.Kind, row.rank = "dead letters", "closed", 5
	}
	return row
}

// consumerRows returns all consumers, the worst first.
func consumerRows(all []subscribe.Consumer, lags history.ConsumerSeries) []consumerRow {
	rows := make([]consumerRow, 0, len(all))
	for _, c := range all {
		row := consumerRowOf(c)
		if i := slices.IndexFunc(lags.Consumers, func(l history.ConsumerLag) bool { return l.Name == c.Name }); i >= 0 {
			row.Spark = new(sparkline("Events that "+c.Name+" was behind", gaps(lags.Consumers[i].Lag)))
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b consumerRow) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(*cmp.Or(b.LagEvents, new(int64)), *cmp.Or(a.LagEvents, new(int64))))
	})
	return rows
}

func (h *Handler) consumersPage(r *http.Request) (*view, error) {
	v := h.view(r, "Consumers", "consumers")
	add(v, "list", "", func(ctx context.Context) reading[[]consumerRow] {
		all, lags := h.sources.consumers.get(ctx), h.sources.lags.get(ctx)
		lags.At, lags.Err = all.At, nil // without it there are no sparklines, but the list
		return both(all, lags, consumerRows)
	})
	return v, nil
}

// consumerLettersShown is how many dead letters of a consumer its page shows.
const consumerLettersShown = 100

type consumerLetters struct {
	consumerRow

	Letters []subscribe.ConsumerDeadLetter // the oldest
}

// rangedChart is a chart of one of several ranges of time.
type rangedChart struct {
	Chart  chart
	Ranges []history.Range
	Range  string
	Path   string // of the page
}

func (h *Handler) consumerPage(r *http.Request) (*view, error) {
	name := r.PathValue("name")
	find := func(ctx context.Context, tx pgx.Tx) (consumerRow, error) {
		c, err := subscribe.FindConsumer(ctx, tx, name)
		return consumerRowOf(c), err
	}
	err := subscribe.ErrNoConsumer
	if isText(name) {
		_, err = snapshot(r.Context(), h.live(), find)
	}
	if errors.Is(err, subscribe.ErrNoConsumer) { // the sections report other errors
		return nil, consumerError(name, err)
	}
	v := h.view(r, name, "consumer")
	addRead(v, h.live(), "state", "", find)
	span := history.RangeOf(r.URL.Query().Get("range"))
	lags := source(h.db(), keepRecent, func(ctx context.Context, tx pgx.Tx) (rangedChart, error) {
		series, err := history.Consumers(ctx, tx, span.Span, name)
		return rangedChart{lagChart("lag-chart", series), history.Ranges, span.Name, consumerPath(name)}, err
	})
	add(v, "lag", "Lag", lags.get)
	addRead(v, h.live(), "letters", "Dead letters", func(ctx context.Context, tx pgx.Tx) (shown consumerLetters, err error) {
		if shown.consumerRow, err = find(ctx, tx); err != nil {
			return shown, err
		}
		shown.Letters, err = subscribe.ListDeadLetters(ctx, tx, name, consumerLettersShown)
		return shown, err
	})
	add(v, "actions", "Move or delete", func(context.Context) reading[consumerRow] {
		return fresh(consumerRow{Consumer: subscribe.Consumer{Name: name}}, nil)
	})
	return v, nil
}

func consumerPath(name string) string { return "/consumers/" + url.PathEscape(name) }

// Command returns a command for this consumer.
func (c consumerRow) Command(verb, more string) string {
	return strings.TrimSpace("iuworker consumers " + verb + " " + c.Word() + " " + more)
}

// Word returns the consumer's name, quoted for a shell.
func (c consumerRow) Word() string { return quoted(c.Name) }
