package api_test

import (
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/docs/api"
	"github.com/iu-core/iuworker/internal/iutest"
)

type object = map[string]any

// published returns a schema that a standard's own body published.
func published(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", file))
	require.NoError(t, err)
	defer packed.Close() //nolint:errcheck // it was only read
	text, err := gzip.NewReader(packed)
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(text)
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("https://example.com/published.json", value))
	schema, err := compiler.Compile("https://example.com/published.json")
	require.NoError(t, err)
	return schema
}

func TestTheDocumentsAreValid(t *testing.T) {
	t.Parallel()
	require.NoError(t, published(t, "openapi-3.1.json.gz").Validate(iutest.Document(t, api.OpenAPI)))
	require.NoError(t, published(t, "asyncapi-3.0.0.json.gz").Validate(iutest.Document(t, api.AsyncAPI)))
	require.NoError(t, jsonschema.NewCompiler().AddResource("https://example.com/event.json", iutest.Document(t, api.EventSchema)))
	require.NotNil(t, iutest.Schema(t, api.EventSchema), "it fits the metaschema")
}

// walk calls visit for a value and everything in it, with its JSON pointer.
func walk(value any, at string, visit func(at string, value any)) {
	visit(at, value)
	switch value := value.(type) {
	case object:
		for name, member := range value {
			walk(member, at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), visit)
		}
	case []any:
		for i, member := range value {
			walk(member, at+"/"+strconv.Itoa(i), visit)
		}
	}
}

// at returns what a JSON pointer leads to.
func at(value any, pointer string) (any, error) {
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if pointer == "" {
			break
		}
		members, isObject := value.(object)
		var found bool
		if value, found = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]; !isObject || !found {
			return nil, fmt.Errorf("there is no %s", name)
		}
	}
	return value, nil
}

func TestEveryReferenceResolves(t *testing.T) {
	t.Parallel()
	found := 0
	for _, document := range api.Documents() {
		walk(iutest.Document(t, document.Name), "", func(from string, value any) {
			fields, _ := value.(object)
			ref, isRef := fields["$ref"].(string)
			if !isRef {
				return
			}
			found++
			file, pointer, _ := strings.Cut(ref, "#")
			if file == "" {
				file = document.Name
			}
			_, err := at(iutest.Document(t, file), pointer)
			require.NoError(t, err, "%s#%s: %s", document.Name, from, ref)
		})
	}
	require.Greater(t, found, 50)
}

func TestExamplesOfTheEventSchema(t *testing.T) {
	t.Parallel()
	checked := 0
	walk(iutest.Document(t, api.EventSchema), "", func(from string, value any) {
		fields, _ := value.(object)
		examples, _ := fields["examples"].([]any)
		for i, example := range examples {
			require.NoError(t, iutest.Schema(t, api.EventSchema+"#"+from).Validate(example), "%s, example %d", from, i)
			checked++
		}
	})
	require.GreaterOrEqual(t, checked, 3)
}

// The examples of parameters, media types and schemas fit their schemas.
func TestExamplesOfOpenAPI(t *testing.T) {
	t.Parallel()
	checked := 0
	check := func(schema string, example any) {
		require.NoError(t, iutest.Schema(t, api.OpenAPI+"#"+schema).Validate(example), "%s: %v", schema, example)
		checked++
	}
	walk(iutest.Document(t, api.OpenAPI), "", func(from string, value any) {
		fields, _ := value.(object)
		if list, isSchema := fields["examples"].([]any); isSchema {
			for _, example := range list {
				check(from, example)
			}
		}
		if fields["schema"] == nil {
			return
		}
		iutest.Schema(t, api.OpenAPI+"#"+from+"/schema")
		if example, given := fields["example"]; given {
			check(from+"/schema", example)
		}
		named, _ := fields["examples"].(object)
		for _, example := range named {
			check(from+"/schema", example.(object)["value"]) //nolint:forcetypeassert // the metaschema was checked
		}
	})
	require.GreaterOrEqual(t, checked, 10)

	stream, err := at(iutest.Document(t, api.OpenAPI), "/paths/~1v1~1events/get/responses/200/content/text~1event-stream/example")
	require.NoError(t, err)
	_, event, _ := strings.Cut(stream.(string), "\n\n") //nolint:forcetypeassert // its schema was checked
	_, event, _ = strings.Cut(event, "data: ")
	iutest.RequireEvent(t, strings.TrimSpace(event))
}

// Each message has examples, which fit its payload and its headers.
func TestExamplesOfAsyncAPI(t *testing.T) {
	t.Parallel()
	document := iutest.Document(t, api.AsyncAPI)
	messages, err := at(document, "/components/messages")
	require.NoError(t, err)
	for name, value := range messages.(object) { //nolint:forcetypeassert // the metaschema was checked
		message := value.(object) //nolint:forcetypeassert // likewise
		ref, _ := message["payload"].(object)["$ref"].(string)
		payload := iutest.Schema(t, api.AsyncAPI+ref+"/schema")
		examples, _ := message["examples"].([]any)
		require.NotEmpty(t, examples, name)
		for i, example := range examples {
			example := example.(object) //nolint:forcetypeassert // likewise
			require.NoError(t, payload.Validate(example["payload"]), "%s, example %d", name, i)
			if message["headers"] != nil {
				headers := iutest.Schema(t, api.AsyncAPI+"#/components/messages/"+name+"/headers")
				require.NoError(t, headers.Validate(example["headers"]), "%s, example %d", name, i)
			}
		}
	}
}

// Each channel is used by an operation, and each message by a channel.
func TestEveryMessageHasAChannel(t *testing.T) {
	t.Parallel()
	document := iutest.Document(t, api.AsyncAPI)
	var used []string
	walk(document, "", func(from string, value any) {
		fields, _ := value.(object)
		if ref, isRef := fields["$ref"].(string); isRef && (strings.HasPrefix(from, "/operations/") || strings.HasPrefix(from, "/channels/")) {
			used = append(used, strings.TrimPrefix(ref, "#"))
		}
	})
	for _, of := range []string{"/channels", "/components/messages", "/servers"} {
		all, err := at(document, of)
		require.NoError(t, err)
		for name := range all.(object) { //nolint:forcetypeassert // the metaschema was checked
			require.True(t, slices.Contains(used, of+"/"+name), "nothing uses %s/%s", of, name)
		}
	}
}
