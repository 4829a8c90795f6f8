package iusql_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// members returns a tracestate with n list members.
func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("k%d=1", i)
	}
	return strings.Join(list, ",")
}

// An application's tracestate is passed on as W3C requires, or left out.
func TestTracestate(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	x := func(n int) string { return strings.Repeat("x", n) }
	for given, want := range map[string]string{
		"v=1": "v=1", "a=1,b=2": "a=1,b=2", " a=1 ,\t,b=2,": "a=1,b=2", "a= x y": "a= x y", "t1@v=1": "t1@v=1", "a=-~!+:;<>?": "a=-~!+:;<>?",
		members(32): members(32), "a=" + x(256): "a=" + x(256),
		// not valid
		"": "", ",": "", "A=1": "", "a": "", "a=": "", "a=b=c": "", "1a=1": "", "a=1,a=2": "", "a=ü": "", "a=1\nb": "", members(33): "", "v=1,,nonsense": "",
		"a=" + x(257): "", x(257) + "=1": "", "a@b@c=1": "",
		// too long
		"big=" + x(256) + ",a=1,b=" + x(126) + ",c=" + x(126) + ",d=" + x(126): "a=1,b=" + x(126) + ",c=" + x(126) + ",d=" + x(126),
		strings.Join([]string{"a=" + x(126), "b=" + x(126), "c=" + x(126), "d=" + x(126), "e=1"}, ","): strings.Join(
			[]string{"a=" + x(126), "b=" + x(126), "c=" + x(126)}, ","),
		"a=" + x(256) + ",b=" + x(256): "",
	} {
		var got *string
		require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT iu_outbox.tracestate($1)", given).Scan(&got))
		if want == "" {
			require.Nil(t, got, "%.80q", given)
			continue
		}
		require.NotNil(t, got, "%.80q", given)
		require.Equal(t, want, *got)
	}
}

// traced composes an event as psql does, with the setting that carries the trace, and returns its emission.
func traced(t *testing.T, db *iutest.DB, trace string) (emission map[string]any) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), db.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT set_config('iu_outbox.traceparent', $1, true)", trace); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), `
			WITH composed AS MATERIALIZED (
				SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', t.id, gen_random_uuid()::text, 'live', 'a') AS result
				FROM iu_outbox.template AS t LIMIT 1)
			SELECT result FROM composed`).Scan(&emission)
	}))
	var text []byte
	require.NoError(t, db.Pool.QueryRow(t.Context(), "SELECT event FROM iu_outbox.emission_event WHERE instance_collection_id = $1",
		emission["instance_collection_id"]).Scan(&text))
	emission = nil
	require.NoError(t, json.Unmarshal(text, &emission))
	return emission
}

// A tracestate without a valid traceparent is ignored, and no trace ever causes an error.
func TestEmissionsCarryAValidTraceOnly(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	db.OpenGates(t)
	db.Template(t, "t", 1)
	for trace, want := range map[string][2]any{
		traceparent: {traceparent, nil}, traceparent + " v=1,w= 2": {traceparent, "v=1,w= 2"},
		traceparent + " ": {traceparent, nil}, traceparent + " nonsense": {traceparent, nil},
		traceparent + " v=" + strings.Repeat("x", 3000): {traceparent, nil},
		"": {}, " v=1": {}, "nonsense v=1": {}, strings.Replace(traceparent, "00-", "ff-", 1) + " v=1": {},
		"00-00000000000000000000000000000000-b7ad6b7169203331-01 v=1": {}, "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01 v=1": {},
	} {
		emission := traced(t, db, trace)
		require.Equal(t, want, [2]any{emission["traceparent"], emission["tracestate"]}, "%.80q", trace)
	}
}

// The longest tracestate fits into a notification that has only the ids.
func TestPayloadsWithATracestateStayUnderTheLimitOfNotify(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	const sizes = `SELECT octet_length(iu_outbox.payload(e, true)), iu_outbox.payload(e, true)::jsonb ->> 'tracestate', e ->> 'tracestate'
		FROM (SELECT jsonb_build_object('subject', 'tpl-inst:auto:' || repeat(E'\x01', 200), 'source', repeat('%FF', 63), 'traceparent', $1::text,
			'tracestate', iu_outbox.tracestate($2), 'data', jsonb_build_object('template_key', repeat('ü', 5000))) AS e) AS e`
	var size int
	var got, stored string
	state := "a=" + strings.Repeat(`\`, 126) + ",b=" + strings.Repeat(`"`, 126) + ",c=" + strings.Repeat(`\`, 126) + ",d=" + strings.Repeat(`"`, 123)
	require.Len(t, state, 512)
	require.NoError(t, db.Pool.QueryRow(t.Context(), sizes, traceparent, state).Scan(&size, &got, &stored))
	require.Less(t, size, 7900)
	require.Equal(t, state, got)
	require.Equal(t, state, stored)
}
