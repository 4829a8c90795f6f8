package eventstream_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

func lastEventID(id string) func(*http.Request) { return with("Last-Event-ID", id) }

func TestEventsAreFollowed(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	before := s.announce(t, 2)
	c := s.open(t, "")
	require.Equal(t, "text/event-stream", c.header.Get("Content-Type"))
	require.Equal(t, "no-store, no-transform", c.header.Get("Cache-Control"))
	require.Equal(t, "no", c.header.Get("X-Accel-Buffering"))
	require.Empty(t, c.header.Get("Content-Length"))
	require.EqualValues(t, 2, c.position(), "a client that is cut off before the first event goes on here")
	requireRetry(t, c, 2, 4)

	keys := s.announce(t, 3)
	require.Equal(t, keys, c.take(3))
	require.EqualValues(t, 5, c.position())
	require.Equal(t, append(before, keys...), s.open(t, "?from=beginning").take(5))
	var stored string
	require.NoError(t, s.Pool.QueryRow(t.Context(), "SELECT event::text FROM iu_outbox.emission WHERE position = 5").Scan(&stored))
	m, err := s.open(t, "?after=4").next()
	require.NoError(t, err)
	require.Equal(t, stored, m.data)
}

func TestEventsStartWhereTheClientSays(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	keys := s.announce(t, 2)
	moment := query[time.Time](t, s.DB, "SELECT clock_timestamp()").Format(time.RFC3339Nano)
	keys = append(keys, s.announce(t, 3)...)
	epoch := query[string](t, s.DB, "SELECT epoch FROM iu_outbox.emission_counter")
	for _, test := range []struct {
		query, id string
		after     int
	}{
		{"?after=0", "", 0},
		{"?after=3", "", 3},
		{"?after=" + epoch + "-3", "", 3},
		{"?from=beginning", "", 0},
		{"?since=" + url.QueryEscape(moment), "", 2},
		{"?since=1h", "", 0},
		{"?since=1d", "", 0},
		{"", epoch + "-4", 4},
		{"", "4", 4},
		{"?after=1", epoch + "-4", 4}, // as a browser sends them when it reconnects
		{"?from=beginning", epoch + "-4", 4},
		{"?since=1h", epoch + "-4", 4},
		{"?from=beginning", "", 0}, // an empty Last-Event-ID counts as none
	} {
		c := s.open(t, test.query, lastEventID(test.id))
		require.EqualValues(t, test.after, c.position(), test)
		require.Equal(t, keys[test.after:], c.take(5-test.after), test)
		c.close()
	}
	for _, query := range []string{"", "?from=now", "?after=5", "?since=0s"} {
		c := s.open(t, query)
		require.EqualValues(t, 5, c.position(), query)
		c.close()
	}
}

// Clients that lose their connection at any moment and reconnect with the last id miss nothing, and see the events in order, while
// many sessions write.
func TestClientsThatReconnectMissNothing(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	s.announce(t, 1)
	const writers, each, clients = 4, 40, 6
	const last = 1 + writers*each
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() { s.write(t, w, each) })
	}
	for n := range clients {
		wg.Go(func() { s.comeAgain(t, n, last) })
	}
	wg.Wait()
}

// write composes in transactions, rolls some of them back, and announces the instances.
func (s *streaming) write(t *testing.T, w, n int) {
	for i := 0; i < n; {
		tx, err := s.Pool.Begin(t.Context())
		if !assertNoError(t, err) {
			return
		}
		_, err = tx.Exec(t.Context(), composeSQL, "order.paid", s.template, fmt.Sprintf("w-%d-%d", w, i), "billing")
		assertNoError(t, err)
		if rand.IntN(4) == 0 {
			assertNoError(t, tx.Rollback(t.Context()))
			continue
		}
		assertNoError(t, tx.Commit(t.Context()))
		i++
		for left := true; left; { // another emitter may have locked the counter
			err := s.Pool.QueryRow(t.Context(), `
				SELECT EXISTS (SELECT FROM iu_outbox.emission WHERE position IS NULL) FROM iu_outbox.emit(500)`).Scan(&left)
			if !assertNoError(t, err) {
				return
			}
		}
	}
}

func (s *streaming) comeAgain(t *testing.T, n, last int) {
	id, position := "1", 1
	for position < last && !t.Failed() {
		c := s.open(t, "?actor=billing", lastEventID(id))
		guard := time.AfterFunc(patience, c.close)
		for stay := 1 + rand.IntN(40); stay > 0 && position < last; stay-- {
			m, err := c.next()
			if !assertNoError(t, err) {
				return
			}
			position, id = position+1, m.id
			assert.True(t, strings.HasSuffix(m.id, "-"+strconv.Itoa(position)), "client %d got %s, not %d", n, m.id, position)
		}
		guard.Stop()
		c.close()
	}
}

func TestEventsAreFiltered(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	other := s.Template(t, "tpl: other", 1)
	filters := []string{
		"template=" + url.QueryEscape("tpl: other"), "template=" + strings.ToUpper(other.String()),
		"actor=shop", "event_type=order.sent", "template=tpl:invoice&actor=shop", "template=tpl:invoice&template=" + other.String(),
		"actor=shop&actor=billing&event_type=order.paid",
	}
	live := make([]*stream, len(filters))
	for i, filter := range filters {
		live[i] = s.open(t, "?from=now&"+filter)
	}
	a := s.announce(t, 1)[0]
	b := s.announce(t, 1, composing{other, "order.sent", "shop"})[0]
	c := s.announce(t, 1, composing{s.template, "order.paid", "shop"})[0]
	for i, want := range [][]string{{b}, {b}, {b, c}, {b}, {c}, {a, b, c}, {a, c}} {
		require.Equal(t, want, live[i].take(len(want)), filters[i])
		require.Equal(t, want, s.open(t, "?after=0&"+filters[i]).take(len(want)), filters[i])
	}
}

func TestRolledBackInstancesAreReplayedWithTheirMark(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	c := s.open(t, "")
	keys := s.announce(t, 2)
	require.Equal(t, keys, c.take(2))
	s.Exec(t, "SELECT public.fn_iu_auto_instantiate_rollback_by_actor('billing', false)")
	again := s.open(t, "?after=0")
	for range 2 {
		m, err := again.next()
		require.NoError(t, err)
		require.Contains(t, m.data, `"rolledbackat": "20`)
	}
}

func TestEventsCarryTheTrace(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	c := s.open(t, "")
	s.Exec(t, "BEGIN; SELECT set_config('iu_outbox.traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 v=1', true); "+
		"SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', '"+s.template.String()+"', 'traced', 'live', 'a'); COMMIT")
	s.announce(t, 0)
	m, err := c.next()
	require.NoError(t, err)
	require.Contains(t, m.data, `"tracestate": "v=1"`)
	require.Contains(t, m.data, `"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`)
}

// eventSource makes a request look like that of an EventSource, which any status but 200 ends.
func eventSource(r *http.Request) { r.Header.Set("Accept", "text/event-stream") }

// turnedAway requests a stream as an EventSource does. It requires that the stream has no message, says why and when to reconnect,
// and ends at once.
func (s *streaming) turnedAway(t *testing.T, path, says string, changes ...func(*http.Request)) {
	t.Helper()
	c := s.lastWords(t, path, changes...)
	_, err := c.next()
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, c.comments, 1)
	require.Contains(t, c.comments[0], says)
	requireRetry(t, c, 6, 12)
}

// lastWords opens a stream for an EventSource that cannot be served, and returns what the server sends.
func (s *streaming) lastWords(t *testing.T, path string, changes ...func(*http.Request)) *stream {
	t.Helper()
	a := s.ask(t, path, append(changes, eventSource)...)
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, "text/event-stream", a.header.Get("Content-Type"))
	require.Equal(t, "no-store, no-transform", a.header.Get("Cache-Control"))
	return &stream{t: t, body: a.body, header: a.header, lines: bufio.NewReader(a.body)}
}

// requireRetry requires that a client waits for a number of seconds in a range.
func requireRetry(t *testing.T, c *stream, least, most int) {
	t.Helper()
	retry, err := strconv.Atoi(c.retry)
	require.NoError(t, err)
	require.GreaterOrEqual(t, retry, least*1000)
	require.Less(t, retry, most*1000)
}

// problem is the body of a refusal.
type problem struct {
	Title, Detail, Cursor, End string
	Status                     int
	CommonUntil                string `json:"common_until"`
	KeptAfter                  string `json:"kept_after"`
}

// refused makes a request that must be refused, and returns its problem.
func (s *streaming) refused(t *testing.T, status int, path string, changes ...func(*http.Request)) problem {
	t.Helper()
	a := s.ask(t, path, changes...)
	text, err := io.ReadAll(a.body)
	require.NoError(t, err)
	require.Equal(t, status, a.status, "%s: %s", path, text)
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), path)
	var p problem
	require.NoError(t, json.Unmarshal(text, &p), "%s", text)
	require.Equal(t, status, p.Status)
	require.Equal(t, http.StatusText(status), p.Title)
	return p
}

func TestBadInputIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	long := strings.Repeat("x", 1001)
	for path, says := range map[string]string{
		"?after=":                     `after is not a cursor: "": give <epoch>-<position> as an event carries it, or a bare position`,
		"?after=latest":               `after is not a cursor: "latest"`,
		"?after=-1":                   "after is not a cursor",
		"?after=99999999999999999999": "after is not a cursor",
		"?after=9999999999999999999":  "the position is too large",
		"?after=00000000-1%0a":        "after is not a cursor",
		"?after=1&after=2":            "after is given 2 times: give it once",
		"?after=1&since=1h":           "after, since and from contradict each other: give one of them",
		"?from=now&since=1h":          "contradict each other",
		"?since=":                     "since is not a time",
		"?since=yesterday":            `since is not a time: "yesterday": use a time such as 2026-12-31T18:00:00Z, or how long ago, such as 30d`,
		"?from=":                      `from is "": it must be beginning or now`,
		"?from=end":                   `from is "end": it must be beginning or now`,
		"?template=":                  "template is blank",
		"?actor=%20":                  "actor is blank",
		"?actor=a%00b":                "actor is not valid UTF-8, or has a zero byte in it",
		"?event_type=%ff":             "event_type is not valid UTF-8",
		"?actor=" + long:              "actor has more than 1000 characters",
		"?" + strings.Repeat("actor=a&", 101) + "after=0": "actor is given 101 times: 100 are possible",
		"?templte=x":                "there is no parameter \"templte\": give after, since or from, and template, actor or event_type",
		"?actor=%zz":                "the query of the URL cannot be read",
		"?after=1;actor=a":          "the query of the URL cannot be read",
		"?token=abcdefghijklmnopqr": "token must not be in the URL, which ends up in logs: send the header Authorization: Bearer",
		"?access_token=x":           "access_token must not be in the URL",
		"?Token=x":                  "token must not be in the URL",
	} {
		p := s.refused(t, http.StatusBadRequest, path)
		require.Contains(t, p.Detail, says, path)
		require.NotContains(t, p.Detail, "abcdefghijklmnopqr")
	}
	require.Contains(t, s.refused(t, http.StatusBadRequest, "", lastEventID("x y")).Detail, `Last-Event-ID is not a cursor: "x y"`)
	require.Contains(t, s.refused(t, http.StatusBadRequest, "", func(r *http.Request) {
		r.Header["Last-Event-Id"] = []string{"1", "2"}
	}).Detail, "Last-Event-ID is given more than once")
	require.Contains(t, s.refused(t, http.StatusBadRequest, "", func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	}).Detail, "must not have a body")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
		p := s.refused(t, http.StatusMethodNotAllowed, "", func(r *http.Request) { r.Method = method })
		require.Equal(t, method+" is not allowed here; allowed: GET, HEAD", p.Detail)
	}
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, s.ask(t, "", lastEventID(strings.Repeat("1", 80<<10))).status)
	require.NotContains(t, s.log.String(), "abcdefghijklmnopqr")
	require.Zero(t, s.events.Stats().Open)
}

func TestHeadReturnsTheHeadersAlone(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	head := func(r *http.Request) { r.Method = http.MethodHead }
	a := s.ask(t, "", head)
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, "text/event-stream", a.header.Get("Content-Type"))
	require.Equal(t, http.StatusBadRequest, s.ask(t, "?from=x", head).status)
	eventually(t, func() bool { return s.events.Stats().Open == 0 })
}

func TestCursorsThatTheHistoryDoesNotHold(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	s.announce(t, 6)
	first := query[string](t, s.DB, "SELECT epoch FROM iu_outbox.emission_counter")
	at := func(position int) string { return first + "-" + strconv.Itoa(position) }

	p := s.refused(t, http.StatusConflict, "?after=7")
	require.Contains(t, p.Detail, "cursor 7 is beyond the end of the history, which ends at "+at(6))
	require.Equal(t, at(6), p.End)
	s.lost(t, p, "?after=7")

	s.Exec(t, "DELETE FROM iu_outbox.emission WHERE position <= 2")
	p = s.refused(t, http.StatusGone, "?after=1")
	require.Contains(t, p.Detail, "events after cursor 1 were pruned: everything after "+at(2)+" is retained")
	require.Equal(t, problem{Title: "Gone", Status: 410, Detail: p.Detail, Cursor: "1", KeptAfter: at(2), End: at(6)}, p)
	require.EqualValues(t, 2, s.open(t, "?from=beginning").position())
	s.lost(t, p, "?after=1")

	// A restore has lost two events, and nothing has been emitted since.
	s.Exec(t, "DELETE FROM iu_outbox.emission WHERE position > 4")
	s.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 4")
	p = s.refused(t, http.StatusGone, "", lastEventID(at(6)))
	require.Equal(t, problem{Title: "Gone", Status: 410, Detail: p.Detail, Cursor: at(6), CommonUntil: at(4), End: at(4)}, p)
	second := query[string](t, s.DB, "SELECT iu_outbox.begin_epoch()")
	s.announce(t, 3)
	p = s.refused(t, http.StatusGone, "", lastEventID(at(6)))
	require.Equal(t, problem{Title: "Gone", Status: 410, Detail: p.Detail, Cursor: at(6), CommonUntil: at(4), End: second + "-7"}, p)
	require.Contains(t, p.Detail, "history rewound")
	s.lost(t, p, "", lastEventID(at(6)))
	p = s.refused(t, http.StatusGone, "", lastEventID("00000000-3"))
	require.Equal(t, problem{Title: "Gone", Status: 410, Detail: p.Detail, Cursor: "00000000-3", End: second + "-7"}, p)
	require.Len(t, s.open(t, "", lastEventID(at(4))).take(3), 3)
}

// lost requires that an EventSource gets the same problem as an event, and is told to reconnect rarely: a client would take a silent
// end for the end of the events.
func (s *streaming) lost(t *testing.T, want problem, path string, changes ...func(*http.Request)) {
	t.Helper()
	c := s.lastWords(t, path, changes...)
	m, err := c.next()
	require.NoError(t, err)
	require.Equal(t, "problem", m.event)
	require.Empty(t, m.id, "its cursor stays")
	var told problem
	require.NoError(t, json.Unmarshal([]byte(m.data), &told))
	require.Equal(t, want, told)
	requireRetry(t, c, 60, 120)
	_, err = c.next()
	require.ErrorIs(t, err, io.EOF)
}

// An invalid request ends an EventSource, as it should.
func TestAnEventSourceGetsTheStatusOfItsMistake(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(_ *eventstream.Config, cfg *webui.Config) { cfg.EventsTokens = tokens(t) })
	s.refused(t, http.StatusUnauthorized, "", eventSource)
	s.refused(t, http.StatusBadRequest, "?after=x", eventSource, bearer(newToken))
	s.refused(t, http.StatusForbidden, "", eventSource, func(r *http.Request) { r.Host = "events.example.com" })
}

// If the history is rewound, a client that follows gets an event of a type of its own at once, and again when it reconnects.
func TestAClientOfALostHistoryIsTold(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *eventstream.Config, _ *webui.Config) { cfg.PollInterval = 10 * time.Millisecond })
	c := s.open(t, "")
	s.announce(t, 5)
	c.take(5)
	lost := c.lastID
	s.Exec(t, "DELETE FROM iu_outbox.emission WHERE position > 3")
	s.Exec(t, "UPDATE iu_outbox.emission_counter SET position = 3")
	m, err := c.next()
	require.NoError(t, err)
	require.Equal(t, "problem", m.event)
	require.Equal(t, lost, m.id)
	var told problem
	require.NoError(t, json.Unmarshal([]byte(m.data), &told))
	require.Equal(t, http.StatusGone, told.Status)
	require.Contains(t, told.Detail, "history rewound")
	_, err = c.next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, lost, told.Cursor)
	require.True(t, strings.HasSuffix(told.CommonUntil, "-3"))
	require.Equal(t, told.CommonUntil, told.End)
	require.Equal(t, told, s.refused(t, http.StatusGone, "", lastEventID(lost)))
}
