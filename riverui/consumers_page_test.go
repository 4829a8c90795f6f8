package webui_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/worker/subscribe"
)

// announce inserts events, waits until they are announced, and returns the epoch.
func (b operating) announce(t *testing.T, suffixes ...string) string {
	t.Helper()
	b.db.OpenGates(t)
	b.insert(t, b.template, suffixes...)
	b.waitAnnounced(t, len(suffixes))
	var epoch string
	require.NoError(t, b.db.Pool.QueryRow(t.Context(), "SELECT epoch FROM iu_outbox.emission_counter").Scan(&epoch))
	return epoch
}

// consumer inserts a consumer that stopped an hour ago.
func (b operating) consumer(t *testing.T, name string, position int) {
	t.Helper()
	b.db.Exec(t, `INSERT INTO iu_outbox.consumer (name, epoch, position, created_at, updated_at)
		SELECT $1, epoch, $2, now() - interval '1 day', now() - interval '1 hour' FROM iu_outbox.emission_counter`, name, position)
}

func (b operating) giveUp(t *testing.T, consumer string, positions ...int) {
	t.Helper()
	for _, position := range positions {
		b.db.Exec(t, `INSERT INTO iu_outbox.consumer_dead_letter (consumer, epoch, position, event, tries, error)
			SELECT $1, c.epoch, e.position, e.event, 5, 'no <such> account' FROM iu_outbox.emission AS e, iu_outbox.emission_counter AS c
			WHERE e.position = $2`, consumer, position)
	}
}

func (b operating) position(t *testing.T, consumer string) int64 {
	t.Helper()
	c, err := subscribe.FindConsumer(t.Context(), b.db.Pool, consumer)
	require.NoError(t, err)
	return c.Cursor.Position
}

func TestConsumersAreListedByWhatIsWrongWithThem(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.announce(t, "a", "b", "c")
	b.db.Exec(t, "UPDATE iu_outbox.emission SET emitted_at = now() - interval '2 hours'")
	for name, position := range map[string]int{"well": 3, "behind": 1, "failing": 2, "lost": 3, "letters": 3} {
		b.consumer(t, name, position)
	}
	b.db.Exec(t, "UPDATE iu_outbox.consumer SET tries = 4, last_error = 'smtp <down>', last_error_at = now() WHERE name = 'failing'")
	b.db.Exec(t, "UPDATE iu_outbox.consumer SET epoch = 'deadbeef' WHERE name = 'lost'")
	b.giveUp(t, "letters", 1, 2)

	page := b.get(t, "/consumers")
	var names []string
	for _, match := range regexp.MustCompile(`<th scope="row"><a href="/consumers/([^"]+)"`).FindAllStringSubmatch(page, -1) {
		names = append(names, match[1])
	}
	require.Equal(t, []string{"lost", "behind", "failing", "letters", "well"}, names, "the worst first")
	for _, says := range []string{
		`<span class="mark bad">position lost</span>`, `<span class="mark closed">behind, no process</span>`,
		`<span class="mark closed">failing, try 4</span> <small>its last event failed: smtp &lt;down&gt;</small>`,
		`<span class="mark closed">dead letters</span>`, "up to date", `none, last active <time`, `href="/consumers/letters#letters">2</a>`,
	} {
		shows(t, page, says)
	}
	require.NotContains(t, page, "mark good", "nothing is green")
	shows(t, b.get(t, "/consumers/behind"), "Behind, no process.")
	shows(t, b.get(t, "/consumers/behind"), "iuworker subscribe --consumer behind")
	shows(t, b.get(t, "/consumers/behind?range=24h"), `aria-current="true">24h</a>`)
	shows(t, b.get(t, "/consumers/lost"), "unknown: the position is lost")
	require.Equal(t, http.StatusNotFound, serve(b.handler, http.MethodGet, "/consumers/nope", nil, asOperator).Code)
}

func TestAPageWithoutConsumersSaysHowOneIsMade(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, nil)
	page := serve(h, http.MethodGet, "/consumers", nil).Body.String()
	shows(t, page, "No durable consumers yet. Create one: ")
	shows(t, page, "<code>iuworker subscribe --consumer NAME</code>")
}

func TestAConsumerWithAnOddNameHasAPage(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	name := `a/b'"<&?#%`
	b.consumer(t, name, 0)
	match := regexp.MustCompile(`href="(/consumers/[^"]+)"`).FindStringSubmatch(b.get(t, "/consumers"))
	require.NotNil(t, match)
	page := b.get(t, html.UnescapeString(match[1]))
	shows(t, page, `iuworker consumers reset &#39;a/b&#39;\&#39;&#39;&#34;&lt;&amp;?#%&#39; --to beginning`)
	require.Contains(t, page, `action="/consumers/a%2Fb`)
}

func TestAConsumerIsMovedBackAndForward(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	epoch := b.announce(t, "a", "b", "c")
	b.consumer(t, "mail", 1)

	ask := b.get(t, "/consumers/mail/reset?to=now")
	shows(t, ask, "<strong>2 events will be skipped:</strong>")
	shows(t, ask, `name="to" value="`+epoch+`-3"`)
	shows(t, ask, "iuworker consumers reset mail --to "+epoch+"-3")
	require.NotContains(t, b.get(t, "/consumers/mail/reset?to=now", asViewer), `method="post"`)
	form := url.Values{"to": {epoch + "-3"}, "skipped": {"2"}, "confirm": {"3"}}
	wrong := b.post("/consumers/mail/reset", form)
	require.Equal(t, http.StatusBadRequest, wrong.Code)
	shows(t, wrong.Body.String(), "type the number of events that will be skipped")
	require.Equal(t, http.StatusForbidden, b.post("/consumers/mail/reset", form, asViewer).Code)
	form.Set("skipped", "1")
	form.Set("confirm", "1")
	require.Equal(t, http.StatusConflict, b.post("/consumers/mail/reset", form).Code, "more than was shown")
	require.EqualValues(t, 1, b.position(t, "mail"))
	require.Empty(t, b.audit(t))
	form.Set("skipped", "2")
	form.Set("confirm", "2")
	b.done(t, b.post("/consumers/mail/reset", form), "otto moved the consumer mail to "+epoch+"-3, skipping 2 events.")
	require.EqualValues(t, 3, b.position(t, "mail"))

	shows(t, b.get(t, "/consumers/mail/reset?to=beginning"), "<strong>3 events</strong> that the consumer handled already")
	b.done(t, b.post("/consumers/mail/reset", url.Values{"to": {epoch + "-0"}, "skipped": {"0"}}), "otto moved the consumer mail to "+epoch+"-0.")
	require.EqualValues(t, 0, b.position(t, "mail"))
	shows(t, b.get(t, "/consumers/mail/reset?at=2"), "2 events will be skipped")
	for at, status := range map[string]int{"nonsense": 400, "99": 409, "deadbeef-1": 409, "": 400} {
		require.Equal(t, status, serve(b.handler, http.MethodGet, "/consumers/mail/reset?at="+at, nil, asOperator).Code, at)
	}
	require.Equal(t, http.StatusBadRequest, b.post("/consumers/mail/reset", url.Values{"to": {"beginning"}}).Code)
	require.Equal(t, http.StatusNotFound, b.post("/consumers/nope/reset", url.Values{"to": {"beginning"}, "skipped": {"0"}}).Code)
}

func TestAResetReachesTheProcessThatWorks(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	epoch := b.announce(t, "a", "b")
	pool, err := pgxpool.New(t.Context(), b.db.URL)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	got := make(chan int64, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- subscribe.Run(ctx, subscribe.Config{Pool: pool, Consumer: "mail", PollInterval: 50 * time.Millisecond},
			func(_ context.Context, e subscribe.Event) error {
				got <- e.Cursor.Position
				return nil
			})
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
		pool.Close()
	})
	b.db.WaitFor(t, patience, "SELECT EXISTS (SELECT FROM iu_outbox.consumer_status WHERE name = 'mail' AND position = 2 AND process IS NOT NULL)")
	shows(t, b.get(t, "/consumers/mail/reset?to=beginning"), "continues from there after its current event")
	b.done(t, b.post("/consumers/mail/reset", url.Values{"to": {epoch + "-0"}, "skipped": {"0"}}), "otto moved the consumer mail")
	var seen []int64
	for len(seen) < 4 {
		select {
		case position := <-got:
			seen = append(seen, position)
		case <-time.After(patience):
			require.FailNow(t, "the process did not return to the beginning", "%v", seen)
		}
	}
	require.Equal(t, []int64{1, 2, 1, 2}, seen)
	ask := b.get(t, "/consumers/mail/delete")
	shows(t, ask, "works for it now, and will stop with an error")
}

func TestAConsumerIsDeletedByItsName(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	epoch := b.announce(t, "a", "b", "c")
	b.consumer(t, "mail", 1)
	b.giveUp(t, "mail", 1)
	ask := b.get(t, "/consumers/mail/delete")
	shows(t, ask, "It is 2 events behind, and has 1 dead letter.")
	require.NotContains(t, b.get(t, "/consumers/mail/delete", asViewer), `method="post"`)
	form := url.Values{"at": {epoch + "-1"}, "letters": {"1"}, "confirm": {"Mail"}}
	require.Equal(t, http.StatusBadRequest, b.post("/consumers/mail/delete", form).Code)
	form.Set("confirm", "mail")
	b.giveUp(t, "mail", 2)
	require.Equal(t, http.StatusConflict, b.post("/consumers/mail/delete", form).Code, "it has more dead letters now")
	require.Empty(t, b.audit(t))
	form.Set("letters", "2")
	b.done(t, b.post("/consumers/mail/delete", form), "otto deleted the consumer mail.")
	b.db.WaitFor(t, patience, "SELECT NOT EXISTS (SELECT FROM iu_outbox.consumer)")
	require.Equal(t, http.StatusNotFound, b.post("/consumers/mail/delete", form).Code)
}

func TestDeadLettersOfAConsumerAreReplayedAndDropped(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.announce(t, "a", "b", "c")
	b.consumer(t, "mail", 3)
	b.giveUp(t, "mail", 1, 2, 3)
	letters, err := subscribe.ListDeadLetters(t.Context(), b.db.Pool, "mail", 10)
	require.NoError(t, err)
	id := func(i int) string { return fmt.Sprint(letters[i].ID) }

	page := b.get(t, "/consumers/mail")
	shows(t, page, "no &lt;such&gt; account")
	shows(t, page, "Replay all 3")
	require.NotContains(t, b.get(t, "/consumers/mail", asViewer), "Replay all")
	require.Equal(t, http.StatusForbidden, b.post("/consumers/mail/dead-letters/replay", url.Values{"all": {"1"}}, asViewer).Code)
	b.done(t, b.post("/consumers/mail/dead-letters/replay", url.Values{"id": {id(0), id(1)}}), "otto replayed 2 dead letters of the consumer mail.")
	b.db.WaitFor(t, patience, "SELECT count(*) = 2 FROM iu_outbox.consumer_dead_letter WHERE replay_requested_at IS NOT NULL")
	shows(t, b.get(t, "/consumers/mail"), "replay requested")
	b.done(t, b.post("/consumers/mail/dead-letters/replay", url.Values{"all": {"1"}}), "otto replayed 3 dead letters of the consumer mail.")

	shows(t, b.get(t, "/consumers/mail/dead-letters/drop?one="+id(2)), "<strong>1 dead letter</strong> of mail")
	b.done(t, b.post("/consumers/mail/dead-letters/drop", url.Values{"id": {id(2)}, "expect": {"1"}}), "otto dropped 1 dead letter of the consumer mail.")
	shows(t, b.get(t, "/consumers/mail/dead-letters/drop?all=1"), "<strong>2 dead letters</strong>")
	b.giveUp(t, "mail", 3)
	all := url.Values{"all": {"1"}, "expect": {"2"}}
	require.Equal(t, http.StatusConflict, b.post("/consumers/mail/dead-letters/drop", all).Code, "there are more now")
	b.db.WaitFor(t, patience, "SELECT count(*) = 3 FROM iu_outbox.consumer_dead_letter")
	all.Set("expect", "3")
	b.done(t, b.post("/consumers/mail/dead-letters/drop", all), "otto dropped 3 dead letters of the consumer mail.")
	require.Equal(t, http.StatusConflict, b.post("/consumers/mail/dead-letters/drop", all).Code)
	require.Equal(t, http.StatusBadRequest, b.post("/consumers/mail/dead-letters/drop", url.Values{"all": {"1"}}).Code)
	require.Equal(t, http.StatusBadRequest, b.post("/consumers/mail/dead-letters/replay", url.Values{}).Code)
	require.Len(t, b.audit(t), 4)
}

// A login with the role iu_worker sees the pages. Its changes are refused, with a sentence that names the missing role.
func TestALoginThatMayNotChangeConsumersIsTold(t *testing.T) {
	t.Parallel()
	b := setupOperating(t)
	b.announce(t, "a")
	b.consumer(t, "mail", 0)
	pool, err := pgxpool.New(t.Context(), b.db.URLAs("iu_worker"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	b.handler = handlerOn(t, b.db, func(cfg *webui.Config) { cfg.Credentials, cfg.Pool = credentials(t), pool })
	shows(t, b.get(t, "/consumers"), "/consumers/mail")
	shows(t, b.get(t, "/consumers/mail"), "Move to the end")
	refused := b.post("/consumers/mail/reset", url.Values{"to": {"1"}, "skipped": {"1"}, "confirm": {"1"}})
	require.Equal(t, http.StatusForbidden, refused.Code)
	shows(t, refused.Body.String(), "iu_operator")
}
