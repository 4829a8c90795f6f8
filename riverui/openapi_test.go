package webui_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/docs/api"
	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
	"github.com/iu-core/iuworker/riverui/eventstream"
)

type object = map[string]any

// member returns what is at the end of a path in a document.
func member[T any](t *testing.T, value any, path ...string) T {
	t.Helper()
	for _, name := range path {
		fields, isObject := value.(object)
		require.True(t, isObject, path)
		require.Contains(t, fields, name, path)
		value = fields[name]
	}
	found, fits := value.(T)
	require.True(t, fits, path)
	return found
}

// Every path that programs use is documented, and every documented path is served.
func TestOpenAPIHasEveryPath(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, func(cfg *webui.Config) { cfg.Metrics, cfg.Events = served, served })
	var documented []string
	for path := range member[object](t, iutest.Document(t, api.OpenAPI), "paths") {
		documented = append(documented, path)
	}
	require.ElementsMatch(t, handler.PublicPaths(), documented)
}

// apiServers serve the API in the states that its responses depend on. It returns their addresses.
func apiServers(t *testing.T) map[string]string {
	t.Helper()
	s := setupStreaming(t, nil)
	s.announce(t, 2)
	closed, err := pgxpool.New(t.Context(), s.URL)
	require.NoError(t, err)
	closed.Close()
	failing, err := eventstream.New(eventstream.Config{Pool: closed, Logger: s.cfg.Logger})
	require.NoError(t, err)
	t.Cleanup(failing.Stop)
	stopped, err := eventstream.New(eventstream.Config{Pool: s.Pool, Logger: s.cfg.Logger})
	require.NoError(t, err)
	stopped.Stop()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = io.WriteString(w, "iuworker_database_up 1\n") // a recorder does not fail
	})
	with := func(change func(*webui.Config)) string {
		url, _ := listen(t, handlerOn(t, s.DB, func(cfg *webui.Config) {
			cfg.Metrics, cfg.Events = metrics, s.cfg.Events
			change(cfg)
		}), "127.0.0.1:0")
		return url
	}
	return map[string]string{
		"open":    with(func(*webui.Config) {}),
		"tokens":  with(func(cfg *webui.Config) { cfg.EventsTokens, cfg.MetricsTokens = tokens(t), tokens(t) }),
		"failing": with(func(cfg *webui.Config) { cfg.Events = failing }),
		"stopped": with(func(cfg *webui.Config) {
			cfg.Events = stopped
			cfg.Ready = func(context.Context) error { return errors.New("the schema is missing") }
		}),
	}
}

// Each documented response is requested from the real handler, and is as documented: its media type, its headers and its body.
func TestOpenAPIDescribesEveryResponse(t *testing.T) {
	t.Parallel()
	servers := apiServers(t)
	elsewhere := host("worker.example.com")
	type asked struct {
		of, method, query string
		change            func(*http.Request)
	}
	get := func(of, query string, change func(*http.Request)) asked {
		return asked{of, http.MethodGet, query, change}
	}
	requests := map[string]asked{
		"/v1/events 200": get("open", "?from=beginning", nothing),
		"/v1/events 400": get("open", "?after=latest", nothing),
		"/v1/events 401": get("tokens", "", nothing),
		"/v1/events 403": get("open", "", elsewhere),
		"/v1/events 409": get("open", "?after=99", nothing),
		"/v1/events 410": get("open", "?after=00000000-1", nothing),
		"/v1/events 500": get("failing", "", nothing),
		"/v1/events 503": get("stopped", "", nothing),
		"/metrics 200":   get("tokens", "", bearer(oldToken)),
		"/metrics 401":   get("tokens", "", nothing),
		"/metrics 403":   get("open", "", elsewhere),
		"/healthz 200":   get("tokens", "", elsewhere),
		"/readyz 200":    get("tokens", "", elsewhere),
		"/readyz 503":    get("stopped", "", elsewhere),
	}
	for _, document := range api.Documents() {
		path := "/v1/" + document.Name
		requests[path+" 200"] = get("tokens", "", elsewhere)
		tag := recorded(t, http.MethodGet, servers["open"]+path, nothing).Header.Get("ETag") //nolint:bodyclose // recorded closed it
		requests[path+" 304"] = get("tokens", "", with("If-None-Match", tag))
	}
	for path, operations := range member[object](t, iutest.Document(t, api.OpenAPI), "paths") {
		requests[path+" 405"] = asked{"tokens", http.MethodPost, "", bearer(oldToken)}
		for status := range member[object](t, operations, "get", "responses") {
			name := path + " " + status
			request, known := requests[name]
			require.True(t, known, "nothing asks for %s", name)
			delete(requests, name)
			w := recorded(t, request.method, servers[request.of]+path+request.query, request.change) //nolint:bodyclose // recorded closed it
			require.Equal(t, status, fmt.Sprint(w.StatusCode), name)
			requireDocumented(t, path, status, w)
		}
	}
	require.Empty(t, requests, "these are not documented")
}

// recorded returns the response to a request, and of a stream its beginning, up to the first event.
func recorded(t *testing.T, method, url string, change func(*http.Request)) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	require.NoError(t, err)
	change(r)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	require.NoError(t, err)
	defer response.Body.Close() //nolint:errcheck // it was read
	var text []byte
	if response.Header.Get("Content-Type") == "text/event-stream" {
		for lines := bufio.NewReader(response.Body); !strings.Contains(string(text), "specversion"); {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			text = append(text, line...)
		}
	} else {
		text, err = io.ReadAll(response.Body)
		require.NoError(t, err)
	}
	response.Body = io.NopCloser(strings.NewReader(string(text)))
	return response
}

func requireDocumented(t *testing.T, path, status string, response *http.Response) {
	t.Helper()
	escape := strings.NewReplacer("~", "~0", "/", "~1").Replace
	at := []string{"paths", path, "get", "responses", status}
	pointer := api.OpenAPI + "#/paths/" + escape(path) + "/get/responses/" + status
	documented := member[object](t, iutest.Document(t, api.OpenAPI), at...)
	headers, _ := documented["headers"].(object)
	for name := range headers {
		value := response.Header.Get(name)
		require.NotEmpty(t, value, "%s of %s %s", name, path, status)
		requireText(t, iutest.Schema(t, pointer+"/headers/"+name+"/schema"), value)
	}
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	content, _ := documented["content"].(object)
	if len(content) == 0 {
		require.Empty(t, body)
		return
	}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	require.NoError(t, err, "%s %s", path, status)
	require.Contains(t, content, media, "%s %s", path, status)
	schema := iutest.Schema(t, pointer+"/content/"+escape(media)+"/schema")
	if media == "application/yaml" {
		var value object
		require.NoError(t, yaml.Unmarshal(body, &value))
		require.NoError(t, schema.Validate(value))
		return
	}
	requireText(t, schema, string(body))
}

// requireText fails unless a text fits a schema as JSON, or as it is.
func requireText(t *testing.T, schema *jsonschema.Schema, text string) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil && schema.Validate(value) == nil {
		return
	}
	require.NoError(t, schema.Validate(strings.TrimSuffix(text, "\n")), text)
}

// The stream takes the documented parameters with their examples, and no others.
func TestOpenAPIHasTheParametersOfTheStream(t *testing.T) {
	t.Parallel()
	s := setupStreaming(t, nil)
	s.announce(t, 20)
	var epoch string
	require.NoError(t, s.Pool.QueryRow(t.Context(), "SELECT epoch FROM iu_outbox.emission_counter").Scan(&epoch))
	document := iutest.Document(t, api.OpenAPI)
	var names []string
	for _, parameter := range member[[]any](t, document, "paths", "/v1/events", "get", "parameters") {
		parameter := parameter.(object) //nolint:forcetypeassert // the metaschema was checked
		if parameter["$ref"] != nil {
			parameter = member[object](t, document, "components", "parameters", "template")
		}
		name := member[string](t, parameter, "name")
		names = append(names, name)
		for _, value := range examplesOf(parameter) {
			value = strings.ReplaceAll(value, "1f2e3d4c", epoch)
			change := with(name, value)
			if parameter["in"] == "query" {
				change = func(r *http.Request) { r.URL.RawQuery = name + "=" + value }
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodHead, "http://localhost/v1/events", http.NoBody)
			change(r)
			s.handler.ServeHTTP(w, r)
			require.Equal(t, http.StatusOK, w.Code, "%s=%s", name, value)
		}
	}
	require.ElementsMatch(t, []string{"after", "since", "from", "template", "actor", "event_type", "Last-Event-ID"}, names)
}

// examplesOf returns the examples of a parameter, or the values that it may have.
func examplesOf(parameter object) (values []string) {
	add := func(value any) {
		if list, isList := value.([]any); isList {
			value = list[0]
		}
		values = append(values, fmt.Sprint(value))
	}
	if example := parameter["example"]; example != nil {
		add(example)
	}
	named, _ := parameter["examples"].(object)
	for _, example := range named {
		add(example.(object)["value"]) //nolint:forcetypeassert // the metaschema was checked
	}
	choices, _ := parameter["schema"].(object)["enum"].([]any)
	for _, choice := range choices {
		add(choice)
	}
	return values
}

// The documents need no credentials, can be cached, and refer to each other by their places.
func TestTheDocumentsForPrograms(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(t, func(cfg *webui.Config) { cfg.Credentials, cfg.BasePath = credentials(t), "/iu" })
	for _, document := range api.Documents() {
		w := serve(handler, http.MethodGet, "/iu/v1/"+document.Name, nil, host("worker.example.com"))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, string(document.Text), w.Body.String())
		require.Equal(t, "public, max-age=300", w.Header().Get("Cache-Control"))
		again := serve(handler, http.MethodGet, "/iu/v1/"+document.Name, nil, with("If-None-Match", w.Header().Get("ETag")))
		require.Equal(t, http.StatusNotModified, again.Code)
	}
	require.Equal(t, http.StatusUnauthorized, serve(handler, http.MethodGet, "/iu/v1/other.yaml", nil).Code)
}
