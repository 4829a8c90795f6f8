package iutest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/docs/api"
)

const goodEvent = `{"specversion": "1.0", "id": "019a3f0e-6c1d-7c2b-9d0f-5f8a4f1d2b3c", "source": "/iu-core/shop",
	"type": "iu.template.instance_auto_composed", "subject": "tpl-inst:auto:s", "time": "2026-11-05T09:30:12.345678Z",
	"datacontenttype": "application/json", "position": 17, "cursor": "1f2e3d4c-17", "data": {
		"instance_collection_id": "019a3f0e-6c1d-7c2b-9d0f-5f8a4f1d2b3c", "instance_key": "tpl-inst:auto:s",
		"template_collection_id": "0b8d2f6e-57a1-4f0e-8a34-2f6de1d5a0c7", "template_key": "t",
		"event_id": "5b3c1f0a-9e7d-4b8a-a1c2-d3e4f5061728", "event_type": "e", "idempotency_key": "0cc175b9c0f1b6a831c399e269772661",
		"emit_mode": "live", "actor": "a", "piece_count": 3}}`

func TestTheSchemaFindsWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	RequireEvent(t, goodEvent)
	RequireNotification(t, goodEvent)
	RequireNotification(t, `{"cursor": "1f2e3d4c-17"}`)
	RequireEvent(t, strings.Replace(goodEvent, `"position": 17`, `"position": "2147483648"`, 1))
	RequireEvent(t, strings.Replace(goodEvent, `"position": 17`, `"position": 9223372036854775807`, 1))
	schema, err := eventSchema()
	require.NoError(t, err)
	for name, change := range map[string][2]string{
		"a member too many":  {`"position"`, `"extra": 1, "position"`},
		"data too many":      {`"actor": "a"`, `"actor": "a", "extra": 1`},
		"no cursor":          {`"cursor": "1f2e3d4c-17", `, ""},
		"no subject":         {`"subject": "tpl-inst:auto:s", `, ""},
		"no actor":           {`"actor": "a", `, ""},
		"a bare cursor":      {`1f2e3d4c-17`, "17"},
		"position zero":      {`"position": 17`, `"position": 0`},
		"a small string":     {`"position": 17`, `"position": "17"`},
		"another type":       {"instance_auto_composed", "instance_composed"},
		"another source":     {"/iu-core/shop", "/iu-core/my shop"},
		"no time":            {"2026-11-05T09:30:12.345678Z", "2026-11-05"},
		"a dry run":          {"live", "dry_run"},
		"no ID":              {"019a3f0e-6c1d-7c2b-9d0f-5f8a4f1d2b3c", "019a3f0e"},
		"tracestate alone":   {`"position"`, `"tracestate": "a=1", "position"`},
		"a short trace":      {`"position"`, `"traceparent": "00-4bf92f3577b34da6", "position"`},
		"whole, truncated":   {`"actor": "a"`, `"actor": "a", "truncated": true`},
		"no idempotency key": {"0cc175b9c0f1b6a831c399e269772661", "0cc175b9"},
	} {
		broken := strings.Replace(goodEvent, change[0], change[1], 1)
		require.NotEqual(t, goodEvent, broken, name)
		require.Error(t, valid(schema, broken), name)
	}
}

// The document itself allows members that it does not describe, so that clients accept what later versions add.
func TestClientsAcceptMembersOfLaterVersions(t *testing.T) {
	t.Parallel()
	open := Schema(t, api.EventSchema)
	require.NoError(t, valid(open, strings.Replace(goodEvent, `"position"`, `"extra": 1, "position"`, 1)))
	require.NoError(t, valid(open, strings.Replace(goodEvent, `"actor"`, `"extra": 1, "actor"`, 1)))
	require.Error(t, valid(open, strings.Replace(goodEvent, `"actor": "a", `, "", 1)))
}

// An event that the program announces and that does not fit fails the test of its database.
func TestAWrongEventFailsItsTest(t *testing.T) {
	t.Parallel()
	db := New(t)
	require.NoError(t, db.eventsFit())
	db.OpenGates(t)
	template := db.Template(t, "t", 1)
	db.Exec(t, "SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, 's', 'live', 'a')", template)
	db.Exec(t, "SELECT iu_outbox.emit(10)")
	require.NoError(t, db.eventsFit())
	db.Exec(t, "UPDATE iu_outbox.emission SET event = event || '{\"extra\": 1}'")
	require.ErrorContains(t, db.eventsFit(), "additional properties 'extra' not allowed")
	db.Exec(t, "UPDATE iu_outbox.emission SET event = event - 'extra'")
	db.Exec(t, `INSERT INTO iu_outbox.emission (position, instance_collection_id, event, emitted_at) VALUES (2, gen_random_uuid(), '{}', now())`)
	require.NoError(t, db.eventsFit(), "a row that the test wrote itself")
	require.NoError(t, Empty(t).eventsFit(), "no schema")
}
