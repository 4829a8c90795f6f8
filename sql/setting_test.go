package iusql_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

const setPayload = "SELECT iu_outbox.set_setting('notify-payload', $1, 'me')"

// composer composes live instances.
type composer struct {
	*iutest.DB
	template uuid.UUID
}

func composing(t *testing.T) *composer {
	t.Helper()
	db := iutest.New(t)
	db.OpenGates(t)
	return &composer{db, db.Template(t, "tpl:secret", 1)}
}

const composeSQL = "SELECT fn_iu_auto_instantiate_from_event(gen_random_uuid(), 'e', $1, gen_random_uuid()::text, 'live', 'somebody')"

// announce composes an instance and announces it: by the emitter, or, if atOnce, in the transaction that composes.
func (c *composer) announce(t *testing.T, atOnce bool) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), c.Pool, func(tx pgx.Tx) error { return c.compose(t, tx, atOnce) }))
	if !atOnce {
		require.Equal(t, "emitted", emitted(t, c.DB))
	}
}

func (c *composer) compose(t *testing.T, tx pgx.Tx, atOnce bool) error {
	t.Helper()
	_, err := tx.Exec(t.Context(), composeSQL, c.template)
	if err == nil && atOnce {
		_, err = tx.Exec(t.Context(), "SELECT iu_outbox.emit_alone()")
	}
	return err
}

// eavesdropper connects as a login without any of our roles.
func eavesdropper(t *testing.T, db *iutest.DB) *pgx.Conn {
	t.Helper()
	role := "eavesdropper_" + db.Name
	db.Exec(t, "CREATE ROLE "+role)
	conn, err := pgx.Connect(t.Context(), db.URLAs(role))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close(t.Context()))
		db.Exec(t, "DROP ROLE "+role)
	})
	_, err = conn.Exec(t.Context(), `LISTEN "iu.template.instance_auto_composed"`)
	require.NoError(t, err)
	return conn
}

func heard(t *testing.T, conn *pgx.Conn) (payload string, fields map[string]any) {
	t.Helper()
	n, err := conn.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(n.Payload), &fields))
	return n.Payload, fields
}

func TestNotifyPayload(t *testing.T) {
	t.Parallel()
	for name, atOnce := range map[string]bool{"by the emitter": false, "at once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := composing(t)
			conn := eavesdropper(t, c.DB)
			say := func() (string, map[string]any) { c.announce(t, atOnce); return heard(t, conn) }

			_, fields := say()
			require.Equal(t, "somebody", fields["data"].(map[string]any)["actor"], "an event by default")

			c.Exec(t, setPayload, "cursor")
			payload, fields := say()
			require.Regexp(t, `^\{"cursor": "[0-9a-f]{8}-2"\}$`, payload)
			require.Len(t, fields, 1)

			c.Exec(t, "UPDATE iu_outbox.setting SET value = 'Event'") // by hand, and wrong
			payload, _ = say()
			require.NotContains(t, payload, "somebody", "what is not understood reveals nothing")

			c.Exec(t, setPayload, "event")
			_, fields = say()
			require.EqualValues(t, 4, fields["position"])
		})
	}
}

// Once the setting is set, no notification carries an event, not even one of a transaction that began before.
func TestNotifyPayloadIsReducedWhenSetReturns(t *testing.T) {
	t.Parallel()
	c := composing(t)
	conn := eavesdropper(t, c.DB)
	old, err := c.Pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = old.Rollback(t.Context()) }()
	_, err = old.Exec(t.Context(), "SELECT FROM iu_outbox.setting") // takes its snapshot
	require.NoError(t, err)

	running, err := c.Pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = running.Rollback(t.Context()) }()
	require.NoError(t, c.compose(t, running, true))
	set := make(chan error, 1)
	go func() { _, err := c.Pool.Exec(t.Context(), setPayload, "cursor"); set <- err }()
	iutest.WaitBlocked(t, c.DB, 1)
	require.NoError(t, running.Commit(t.Context()))
	require.NoError(t, <-set)
	payload, _ := heard(t, conn)
	require.Contains(t, payload, "somebody", "it was announced before the setting was set")

	require.NoError(t, c.compose(t, old, true))
	require.NoError(t, old.Commit(t.Context()))
	c.announce(t, false)
	for range 2 {
		payload, _ := heard(t, conn)
		require.NotContains(t, payload, "somebody")
	}
}

func TestSetSetting(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	for _, role := range []string{"iu_app", "iu_worker", "iu_subscriber"} {
		require.Equal(t, denied, as(t, db, role, "SELECT iu_outbox.set_setting('notify-payload', 'cursor', 'me')"), role)
		require.Equal(t, denied, as(t, db, role, "INSERT INTO iu_outbox.setting (name, value) VALUES ('notify-payload', 'event')"), role)
	}
	for _, wrong := range []string{"'notify_payload', 'cursor'", "NULL, 'cursor'", "'notify-payload', 'none'", "'notify-payload', NULL"} {
		require.Equal(t, "22023", as(t, db, "iu_operator", "SELECT iu_outbox.set_setting("+wrong+", 'me')"), wrong)
	}
	require.Empty(t, rows(t, db, "SELECT action FROM iu_outbox.audit"))

	require.Empty(t, as(t, db, "iu_operator", "SELECT iu_outbox.set_setting('notify-payload', 'cursor', 'me')"))
	db.Exec(t, setPayload, "event")
	require.Equal(t, []string{"notify-payload event event me"},
		rows(t, db, "SELECT concat_ws(' ', name, value, default_value, updated_by) FROM iu_outbox.settings()"))
	require.Equal(t, []string{
		`me setting.set {"was": "event", "name": "notify-payload", "value": "cursor"}`,
		`me setting.set {"was": "cursor", "name": "notify-payload", "value": "event"}`,
	}, rows(t, db, "SELECT concat_ws(' ', actor, action, detail) FROM iu_outbox.audit ORDER BY id"))
}
