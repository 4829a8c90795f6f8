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
	late := c.LagEvents != nil && *c.LagEvents > 0
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

func (h *Handler) consumersPage(w http.ResponseWriter, r *http.Request) {
	v := h.view(r, "Consumers", "consumers")
	v.Done = h.done(r)
	add(v, "list", "", func(ctx context.Context) reading[[]consumerRow] {
		all, lags := h.sources.consumers.get(ctx), h.sources.lags.get(ctx)
		lags.At, lags.Err = all.At, nil // without it there are no sparklines, but the list
		return both(all, lags, consumerRows)
	})
	h.serve(w, r, v)
}

// consumerLettersShown is how many dead letters of a consumer its page shows.
const consumerLettersShown = 100

type consumerLettersPart struct {
	Letters []subscribe.ConsumerDeadLetter
	Total   int64
	Path    string // of the consumer
	Name    string
}

type consumerLagPart struct {
	Chart  chart
	Ranges []history.Range
	Range  string
	Path   string
}

func (h *Handler) consumerPage(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !h.knownConsumer(w, r, name) {
		return
	}
	db := h.db()
	v := h.view(r, name, "consumer")
	v.Done = h.done(r)
	one := source(db, keepState, func(ctx context.Context, tx pgx.Tx) (consumerRow, error) {
		c, err := subscribe.FindConsumer(ctx, tx, name)
		return consumerRowOf(c), err
	})
	add(v, "state", "", one.get)
	span := history.RangeOf(r.URL.Query().Get("range"))
	lags := source(db, keepRecent, func(ctx context.Context, tx pgx.Tx) (consumerLagPart, error) {
		series, err := history.Consumers(ctx, tx, span.Span, name)
		return consumerLagPart{
			Chart: lagChart("lag-chart", series), Ranges: history.Ranges, Range: span.Name, Path: consumerPath(name),
		}, err
	})
	add(v, "lag", "Lag", lags.get)
	letters := source(db, keepState, func(ctx context.Context, tx pgx.Tx) (consumerLettersPart, error) {
		part := consumerLettersPart{Name: name, Path: consumerPath(name)}
		c, err := subscribe.FindConsumer(ctx, tx, name)
		if err != nil {
			return part, err
		}
		part.Total = c.DeadLetters
		part.Letters, err = subscribe.ListDeadLetters(ctx, tx, name, consumerLettersShown)
		return part, err
	})
	add(v, "letters", "Dead letters", letters.get)
	add(v, "actions", "Move or delete", func(context.Context) reading[consumerRow] {
		return fresh(consumerRow{Consumer: subscribe.Consumer{Name: name}}, nil)
	})
	h.serve(w, r, v)
}

func consumerPath(name string) string { return "/consumers/" + url.PathEscape(name) }

// knownConsumer reports whether there is a consumer of that name, or the database cannot tell. If not, it has responded.
func (h *Handler) knownConsumer(w http.ResponseWriter, r *http.Request, name string) bool {
	err := subscribe.ErrNoConsumer
	if isText(name) {
		err = h.db().read(r.Context(), func(tx pgx.Tx) error {
			_, err := subscribe.FindConsumer(r.Context(), tx, name)
			return err
		})
	}
	if errors.Is(err, subscribe.ErrNoConsumer) {
		h.say(w, r, http.StatusNotFound, "there is no consumer %s; it was deleted, or never subscribed", printable(name))
		return false
	}
	return true
}

// Command returns a command for this consumer.
func (c consumerRow) Command(verb, more string) string {
	return strings.TrimSpace("iuworker consumers " + verb + " " + quoted(c.Name) + " " + more)
}

// Word returns the consumer's name, quoted for a shell.
func (p consumerLettersPart) Word() string { return quoted(p.Name) }

// Word returns the consumer's name, quoted for a shell.
func (c consumerRow) Word() string { return quoted(c.Name) }

// More reports whether there are dead letters that are not shown.
func (p consumerLettersPart) More() bool { return p.Total > int64(len(p.Letters)) }
