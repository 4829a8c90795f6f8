package webui

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/operate"
	"github.com/iu-core/iuworker/internal/operate/templates"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// filterText is the longest value of a filter, in characters.
const filterText = 1000

// isText reports whether a text may be a value of a filter, or a key.
func isText(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= filterText && !strings.ContainsRune(text, 0)
}

// filter has the values that choose the rows of a list, by their names in addresses and forms. A value may be "".
type filter map[string]string

// filterForm is the section of a page that has the form of its filter.
type filterForm struct {
	Filter  filter
	Choices []string // of the state, the status or the action
}

// readFilter reads the named values from a page's query or a form.
func readFilter(r *http.Request, names ...string) (filter, error) {
	f, from := filter{}, values(r)
	for _, name := range names {
		f[name] = strings.TrimSpace(from.Get(name))
		if !isText(f[name]) {
			return nil, refuse(http.StatusBadRequest, "%s is not a text of up to %d characters", name, filterText)
		}
	}
	return f, nil
}

// Query returns the filter and more pairs as a query that begins with ?, or "".
func (f filter) Query(more ...string) string {
	query := url.Values{}
	for name, value := range f {
		if value != "" {
			query.Set(name, value)
		}
	}
	for pair := range slices.Chunk(more, 2) {
		query.Set(pair[0], pair[1])
	}
	if len(query) == 0 {
		return ""
	}
	return "?" + query.Encode()
}

// Words describes the filter: "state dead, actor ann".
func (f filter) Words() string {
	var words []string
	for _, name := range []string{"state", "status", "template", "suffix", "actor", "type", "since", "until"} {
		if f[name] != "" {
			words = append(words, name+" "+f[name])
		}
	}
	return strings.Join(words, ", ")
}

// span returns the times from which and until which the filter chooses; zero if there is none.
func (f filter) span() (since, until time.Time, err error) {
	for name, at := range map[string]*time.Time{"since": &since, "until": &until} {
		if f[name] == "" {
			continue
		}
		if *at, err = subscribe.ParseSince(f[name], time.Now()); err != nil {
			return since, until, refuse(http.StatusBadRequest,
				"%s is %s: use a time such as 2026-12-31T18:00:00Z, or how long ago it was, such as 30d, 12h or 5m", name, printable(f[name]))
		}
	}
	return since, until, nil
}

// templateOf returns the id of the filter's template, which may no longer be marked; uuid.Nil if it has none.
func (h *Handler) templateOf(ctx context.Context, f filter) (id uuid.UUID, err error) {
	if f["template"] == "" {
		return uuid.Nil, nil
	}
	err = h.db().read(ctx, func(tx pgx.Tx) error {
		if id, err = templates.CollectionID(ctx, tx, f["template"]); err == nil && id == uuid.Nil {
			_, err = templates.Find(ctx, tx, f["template"])
		}
		return err
	})
	if none, ok := errors.AsType[*templates.NotFoundError](err); ok {
		hint := "; the page Templates lists them"
		if len(none.Nearest) > 0 {
			hint = "; did you mean " + strings.Join(none.Nearest, ", ") + "?"
		}
		return id, refuse(http.StatusBadRequest, "there is no template %s%s", printable(f["template"]), hint)
	}
	return id, err
}

// readIDPage reads the position of a page in a list. One row more than limit is read, which shows that the list continues.
func readIDPage(r *http.Request, limit int, of string) (operate.IDPage, error) {
	page := operate.IDPage{Limit: limit + 1}
	for name, id := range map[string]*int64{"before": &page.Before, "after": &page.After} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		var err error
		if *id, err = strconv.ParseInt(text, 10, 64); err != nil || *id < 1 {
			return page, refuse(http.StatusBadRequest, "%s must be the number of %s", name, of)
		}
	}
	return page, nil
}

// listPage is a page of a list.
type listPage[T any, K comparable] struct {
	Filter       filter
	Rows         []T
	Newer, Older K // the keys that bound the pages before and after it; zero: there is no such page
}

// Filtered reports whether the filter chooses some of the rows.
func (l listPage[T, K]) Filtered() bool { return l.Filter.Query() != "" }

// newListPage returns a page of rows. If there are limit rows, one of them only shows that the list continues, and is left out.
// back says that the page was reached from the page after it, and on from the page before it.
func newListPage[T any, K comparable](f filter, rows []T, limit int, back, on bool, key func(T) K) listPage[T, K] {
	more := len(rows) == limit
	page := listPage[T, K]{Filter: f, Rows: rows}
	switch {
	case more && back:
		page.Rows = rows[1:]
	case more:
		page.Rows = rows[:len(rows)-1]
	}
	if len(page.Rows) == 0 {
		return page
	}
	if on || back && more {
		page.Newer = key(page.Rows[0])
	}
	if back || more {
		page.Older = key(page.Rows[len(page.Rows)-1])
	}
	return page
}
