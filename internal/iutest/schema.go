package iutest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/docs/api"
)

const schemaBase = "https://raw.githubusercontent.com/iu-core/iuworker/main/docs/api/"

var (
	eventSchema        = sync.OnceValues(func() (*jsonschema.Schema, error) { return strict(api.EventSchema) })
	notificationSchema = sync.OnceValues(func() (*jsonschema.Schema, error) { return strict(api.EventSchema + "#/$defs/notification") })
)

// Schema compiles a schema of the documents in docs/api, such as "openapi.yaml#/components/schemas/Problem". Formats are asserted.
func Schema(t testing.TB, ref string) *jsonschema.Schema {
	t.Helper()
	all, err := documents()
	require.NoError(t, err)
	schema, err := compile(ref, all)
	require.NoError(t, err)
	return schema
}

// Document returns one of the documents in docs/api, decoded.
func Document(t testing.TB, name string) any {
	t.Helper()
	all, err := documents()
	require.NoError(t, err)
	require.Contains(t, all, name)
	return all[name]
}

// RequireEvent fails unless a text is an event by the schema, with no member that the schema does not describe.
func RequireEvent(t testing.TB, text string) {
	t.Helper()
	requireValid(t, eventSchema, text)
}

// RequireNotification is RequireEvent for the payload of a notification.
func RequireNotification(t testing.TB, payload string) {
	t.Helper()
	requireValid(t, notificationSchema, payload)
}

// RequireHeaders fails unless the headers of a message fit one of the schemas in asyncapi.yaml, which must describe them all.
func RequireHeaders(t testing.TB, schema string, headers map[string][]string) {
	t.Helper()
	all, err := documents()
	require.NoError(t, err)
	known := all[api.AsyncAPI].(map[string]any) //nolint:forcetypeassert // tests of docs/api check its form
	for _, name := range []string{"components", "schemas", schema, "properties"} {
		known = known[name].(map[string]any) //nolint:forcetypeassert // likewise
	}
	value := map[string]any{}
	for name, values := range headers {
		require.Contains(t, known, name, "docs/api/%s does not describe this header", api.AsyncAPI)
		require.Len(t, values, 1, name)
		value[name] = values[0]
	}
	compiled, err := compiledHeaders(schema)
	require.NoError(t, err)
	require.NoError(t, compiled.Validate(value), headers)
}

var headerSchemas sync.Map // by name

func compiledHeaders(name string) (*jsonschema.Schema, error) {
	if known, found := headerSchemas.Load(name); found {
		return known.(*jsonschema.Schema), nil //nolint:forcetypeassert // nothing else is stored
	}
	all, err := documents()
	if err != nil {
		return nil, err
	}
	compiled, err := compile(api.AsyncAPI+"#/components/schemas/"+name, all)
	headerSchemas.Store(name, compiled)
	return compiled, err
}

func requireValid(t testing.TB, schema func() (*jsonschema.Schema, error), text string) {
	t.Helper()
	compiled, err := schema()
	require.NoError(t, err)
	require.NoError(t, valid(compiled, text), text)
}

func valid(schema *jsonschema.Schema, text string) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// strict compiles a schema of events that allows no member that it does not describe. The document allows them, so that clients
// accept what later versions add.
func strict(ref string) (*jsonschema.Schema, error) {
	all, err := decodeAll()
	if err != nil {
		return nil, err
	}
	event := all[api.EventSchema].(map[string]any) //nolint:forcetypeassert // tests of docs/api check its form
	event["additionalProperties"] = false
	for _, definition := range event["$defs"].(map[string]any) { //nolint:forcetypeassert // likewise
		if fields := definition.(map[string]any); fields["properties"] != nil { //nolint:forcetypeassert // likewise
			fields["additionalProperties"] = false
		}
	}
	return compile(ref, all)
}

func compile(ref string, all map[string]any) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	for name, document := range all {
		if err := compiler.AddResource(schemaBase+name, document); err != nil {
			return nil, err
		}
	}
	return compiler.Compile(schemaBase + ref)
}

// documents returns the decoded documents by their names. They must not be changed.
var documents = sync.OnceValues(decodeAll)

func decodeAll() (map[string]any, error) {
	all := map[string]any{}
	for _, document := range api.Documents() {
		value, err := decode(document)
		if err != nil {
			return nil, fmt.Errorf("decode %s: %w", document.Name, err)
		}
		all[document.Name] = value
	}
	return all, nil
}

// decode returns a document as the validator wants it.
func decode(document api.Document) (any, error) {
	text := document.Text
	if path.Ext(document.Name) == ".yaml" {
		var value any
		if err := yaml.Unmarshal(text, &value); err != nil {
			return nil, err
		}
		var err error
		if text, err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

const emissionsTimeout = time.Minute // for reading all of a test's emissions on a busy machine

// announced are the emissions that the program made: those of instances in the log, and of instances that were rolled back. Rows
// that a test wrote itself are not among them.
const announced = `
	SELECT e.event::text FROM iu_outbox.emission AS e
	WHERE e.position IS NOT NULL AND e.event IS NOT NULL AND (e.rolled_back_at IS NOT NULL AND e.event ? 'type' OR EXISTS (
		SELECT FROM public.iu_auto_instantiate_event_log AS l WHERE l.instance_collection_id = e.instance_collection_id))`

// checkEvents fails the test unless the events that were announced in its database fit the schema.
func (db *DB) checkEvents() {
	if db.anyEvents.Load() {
		return
	}
	if err := db.eventsFit(); err != nil && !db.t.Failed() {
		db.t.Errorf("check the events of database %s: %v", db.Name, err)
	}
}

// eventsFit returns what is wrong with the events that were announced. A database without the schema, or one that the test
// dropped or stopped, has none.
func (db *DB) eventsFit() error {
	schema, err := eventSchema()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), emissionsTimeout)
	defer cancel()
	db.Pool.Reset() // the test may have ended its sessions
	rows, err := db.Pool.Query(ctx, announced)
	var event string
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&event}, func() error {
			if err := valid(schema, event); err != nil {
				return fmt.Errorf("an event does not fit docs/api/%s: %w: %s", api.EventSchema, err, event)
			}
			return nil
		})
	}
	if err != nil && db.hasNoEvents(err) {
		return nil
	}
	return err
}

// hasNoEvents reports whether an error says that there is nothing to check.
func (db *DB) hasNoEvents(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case pgerrcode.UndefinedTable, pgerrcode.InvalidSchemaName, pgerrcode.UndefinedColumn, pgerrcode.InvalidCatalogName:
			return true
		}
	}
	_, invalid := errors.AsType[*jsonschema.ValidationError](err)
	return db.cluster != shared && !invalid // the test may have stopped its own server
}

// AllowAnyEvent says that the test edits events, so that they need not be valid.
func (db *DB) AllowAnyEvent() { db.anyEvents.Store(true) }
