package webui_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	webui "github.com/iu-core/iuworker/riverui"
)

const (
	oldToken = "0123456789abcdef"
	newToken = "fedcba9876543210-._~+/=="
)

func tokens(t *testing.T) *webui.Tokens {
	t.Helper()
	parsed, err := webui.ParseTokens("# the old one\n" + oldToken + "\r\n\n  " + newToken + "\n")
	require.NoError(t, err)
	return parsed
}

func bearer(token string) func(*http.Request) { return with("Authorization", "Bearer "+token) }

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func together(changes ...func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		for _, change := range changes {
			change(r)
		}
	}
}

func nothing(*http.Request) {}

func TestWhoMayFollow(t *testing.T) {
	t.Parallel()
	type tries map[string]struct {
		change func(*http.Request)
		status int
	}
	const ok, unauthorized, forbidden = http.StatusOK, http.StatusUnauthorized, http.StatusForbidden
	away := host("events.example.com")
	for name, test := range map[string]struct {
		configure  func(*webui.Config)
		challenges []string
		tries      tries
	}{
		"nobody is asked": {nil, nil, tries{
			"this machine":   {nothing, ok},
			"anything goes":  {bearer("whatever"), ok},
			"a rebound name": {away, forbidden},
			"another site":   {with("Sec-Fetch-Site", "cross-site"), forbidden},
			"a neighbour":    {with("Sec-Fetch-Site", "same-site"), forbidden},
			"an old browser": {with("Origin", "http://evil.example"), forbidden},
			"our own pages":  {with("Sec-Fetch-Site", "same-origin"), ok},
			"a typed URL":    {with("Sec-Fetch-Site", "none"), ok},
		}},
		"tokens": {func(cfg *webui.Config) { cfg.EventsTokens = tokens(t) }, []string{`Bearer realm="iuworker"`}, tries{
			"none":             {nothing, unauthorized},
			"old":              {bearer(oldToken), ok},
			"new":              {bearer(newToken), ok},
			"any case":         {with("Authorization", "bEARER  "+newToken), ok},
			"wrong":            {bearer("0123456789abcdeg"), unauthorized},
			"half":             {bearer(oldToken[:8]), unauthorized},
			"empty":            {bearer(""), unauthorized},
			"both":             {bearer(oldToken + " " + newToken), unauthorized},
			"as a password":    {as("token", oldToken), unauthorized},
			"no scheme":        {with("Authorization", oldToken), unauthorized},
			"from anywhere":    {together(away, bearer(oldToken)), ok},
			"rebound, without": {away, forbidden},
			"by a browser":     {together(with("Sec-Fetch-Site", "cross-site"), bearer(oldToken)), ok}, // another site cannot know the token
		}},
		"credentials": {func(cfg *webui.Config) { cfg.Credentials = credentials(t) },
			[]string{`Basic realm="iuworker", charset="UTF-8"`}, tries{
				"none":          {nothing, unauthorized},
				"viewer":        {asViewer, ok},
				"operator":      {asOperator, ok},
				"wrong":         {as("vera", "wrong password"), unauthorized},
				"a token":       {bearer(oldToken), unauthorized},
				"from anywhere": {together(away, asViewer), ok},
				"another site":  {together(with("Sec-Fetch-Site", "cross-site"), asViewer), forbidden},
			}},
		"both": {func(cfg *webui.Config) { cfg.EventsTokens, cfg.Credentials = tokens(t), credentials(t) },
			[]string{`Bearer realm="iuworker"`, `Basic realm="iuworker", charset="UTF-8"`}, tries{
				"none":   {nothing, unauthorized},
				"token":  {bearer(newToken), ok},
				"viewer": {asViewer, ok},
				"wrong":  {bearer(viewerPassword), unauthorized},
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupStreaming(t, test.configure)
			for try, does := range test.tries {
				if does.status != ok {
					require.NotEmpty(t, s.refused(t, does.status, does.change))
				}
				a := s.ask(t, does.change)
				require.Equal(t, does.status, a.status, try)
				if does.status == unauthorized {
					require.Equal(t, test.challenges, a.header.Values("WWW-Authenticate"), try)
				}
				_ = a.body.Close()
			}
			require.NotContains(t, s.log.String(), oldToken)
		})
	}
}

// The token of the events gives access to nothing else, and the port of the metrics serves no events.
func TestATokenIsForTheEventsAlone(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *webui.Config) {
		cfg.EventsTokens, cfg.Credentials, cfg.BasePath = tokens(t), credentials(t), "/iu"
	})
	for path, status := range map[string]int{
		"/iu/v1/events": http.StatusOK, "/iu/": http.StatusUnauthorized, "/iu/riverui/": http.StatusUnauthorized,
		"/v1/events": http.StatusUnauthorized, "/iu/v1/events/": http.StatusUnauthorized, "/iu/v1/": http.StatusUnauthorized,
	} {
		w := serve(s.handler, http.MethodHead, path, nil, bearer(oldToken))
		require.Equal(t, status, w.Code, path)
	}
	metrics, err := webui.NewMetrics(webui.Config{
		Pool: s.Pool, Metrics: http.NotFoundHandler(), Events: s.cfg.Events, Credentials: credentials(t),
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, serve(metrics, http.MethodHead, "/v1/events", nil, asViewer).Code)
}

// session returns the cookie that a page sets.
func session(t *testing.T, s *streaming, changes ...func(*http.Request)) *http.Cookie {
	t.Helper()
	w := serve(s.handler, http.MethodGet, "/iu/audit", nil, append(changes, with("Accept", "text/html"))...)
	cookies := w.Result().Cookies()
	if len(cookies) == 0 {
		return nil
	}
	require.Len(t, cookies, 1)
	return cookies[0]
}

func TestASignedInBrowserFollowsByItsCookie(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, func(cfg *webui.Config) {
		cfg.Credentials, cfg.BasePath = credentials(t), "/iu"
	})
	require.Nil(t, session(t, s), "nobody")
	require.Nil(t, session(t, s, as("vera", "wrong password")))
	cookie := session(t, s, asViewer)
	require.Equal(t, "iuworker_events", cookie.Name)
	require.Equal(t, "/iu/v1/events", cookie.Path)
	require.True(t, cookie.HttpOnly)
	require.False(t, cookie.Secure, "there is no TLS")
	require.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	require.Equal(t, 12*60*60, cookie.MaxAge)
	require.True(t, session(t, s, asViewer, with("X-Forwarded-Proto", "https")).Secure)

	sending := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie.Name, Value: value}) }
	}
	next := s.follow(t, sending(cookie.Value), with("Sec-Fetch-Site", "same-origin"))
	require.Equal(t, s.announce(t, 1)[0], next())
	s.follow(t, sending("another.iuworker.here"), sending(cookie.Value))

	another := setupStreaming(t, func(cfg *webui.Config) { // behind the same load balancer
		cfg.Credentials, cfg.BasePath = credentials(t), "/iu"
	})
	another.follow(t, sending(cookie.Value))
	other, err := webui.ParseCredentials("viewer:vera:another password")
	require.NoError(t, err)
	foreign := setupStreaming(t, func(cfg *webui.Config) { cfg.Credentials, cfg.BasePath = other, "/iu" })
	name, rest, _ := strings.Cut(cookie.Value, ".")
	for why, value := range map[string]string{
		"empty": "", "unsigned": name + "." + rest[:strings.Index(rest, ".")+1], "dots": "..", "none": "x",
		"another user": "b3R0bw" + cookie.Value[len(name):], "longer": name + ".9" + rest, "cut": cookie.Value[:len(cookie.Value)-1],
		"another password": session(t, foreign, as("vera", "another password")).Value,
		"over":             s.handler.Session("vera", time.Now().Add(-time.Second)),
		"user is gone":     s.handler.Session("ann", time.Now().Add(time.Hour)),
	} {
		require.Equal(t, http.StatusUnauthorized, s.ask(t, sending(value)).status, why)
	}
	s.refused(t, http.StatusForbidden, sending(cookie.Value), with("Sec-Fetch-Site", "cross-site"))
	s.refused(t, http.StatusUnauthorized, sending(cookie.Value), as("vera", "wrong password"))

	// The cookie gives access to the events and to nothing else.
	for _, path := range []string{"/iu/", "/iu/audit", "/iu/riverui/api/jobs"} {
		require.Equal(t, http.StatusUnauthorized, serve(s.handler, http.MethodGet, path, nil, sending(cookie.Value)).Code, path)
	}
	open, _ := newHandler(t, func(cfg *webui.Config) { cfg.Events = http.NotFoundHandler() })
	w := serve(open, http.MethodGet, "/audit", nil, with("Accept", "text/html"))
	require.Equal(t, http.StatusOK, w.Code)
	require.Empty(t, w.Header().Get("Set-Cookie"), "where nobody signs in there is no session")
}

func TestErrorsInTokensDoNotQuoteThem(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                "it has no token",
		"# nothing\n\n":                   "it has no token",
		"topsecret":                       "line 1: the token has fewer than 16 characters",
		"#x\ntopsecret topsecret topsecr": "line 2: a token consists of letters, digits and -._~+/",
		"topsecret=topsecret=":            "line 1: a token consists of letters",
		"topsecrettopsecretü":             "line 1: a token consists of letters",
	} {
		_, err := webui.ParseTokens(text)
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "secret")
	}
	path := writeCredentials(t, oldToken, 0o644)
	_, err := webui.ReadTokens(path)
	require.ErrorContains(t, err, "the tokens file "+path+" may be read or changed by others")
	_, err = webui.ReadTokens(writeCredentials(t, "short", 0o600))
	require.ErrorContains(t, err, "line 1: the token has fewer than 16 characters")
	_, err = webui.ReadTokens(path + ".none")
	require.ErrorContains(t, err, "read the tokens: ")
	read, err := webui.ReadTokens(writeCredentials(t, oldToken, 0o600))
	require.NoError(t, err)
	require.NotNil(t, read)
}
