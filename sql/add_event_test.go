package iusql_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// asApp connects as a login that only has the role of applications.
func asApp(t testing.TB, db *iutest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.URLAs("iu_app"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func TestAddEvent(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	template := db.Template(t, "welcome-letter", 1)
	app := asApp(t, db)

	var first, second int64
	event := uuid.New()
	require.NoError(t, app.QueryRow(t.Context(), `
		SELECT iu_outbox.add_event(template => 'welcome-letter', event_type => 'order.placed', event_id => $1, suffix => 'order-1')`,
		event).Scan(&first))
	require.NoError(t, app.QueryRow(t.Context(), `
		SELECT iu_outbox.add_event(template => $1, event_type => 'order.placed', note => 'n', priority => 3, actor => 'shop',
			emit_mode => 'dry_run', available_at => '2030-01-01Z', trace_context => '{"a": 1}')`, template.String()).Scan(&second))
	require.Greater(t, second, first)

	require.Equal(t, []string{
		event.String() + "|order.placed|order-1|live|<NULL>|1|{}",
	}, rows(t, db, `
		SELECT concat_ws('|', event_id, event_type, instance_key_suffix, emit_mode, COALESCE(note, '<NULL>'), priority, trace_context)
		FROM iu_outbox.event ORDER BY id LIMIT 1`))
	require.Equal(t, []string{"t|dry_run|n|3|shop|t"}, rows(t, db, `
		SELECT concat_ws('|', instance_key_suffix = template_collection_id || '-' || event_id, emit_mode, note, priority, actor, available_at = '2030-01-01Z')
		FROM iu_outbox.event ORDER BY id DESC LIMIT 1`))
	require.Equal(t, []string{template.String()}, rows(t, db, "SELECT DISTINCT template_collection_id::text FROM iu_outbox.event"))
}

// An unknown template is an error that names the nearest ones, not a row from which nothing is composed.
func TestAddEventKnowsTheTemplates(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	app := asApp(t, db)
	add := func(template any) *pgconn.PgError {
		_, err := app.Exec(t.Context(), "SELECT iu_outbox.add_event(template => $1::text, event_type => 'e')", template)
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr)
		return pgErr
	}
	require.Equal(t, "SELECT collection_key FROM iu_outbox.template lists the templates.", add("welcome-leter").Hint)
	for _, key := range []string{"welcome-letter", "goodbye-letter", "invoice"} {
		db.Template(t, key, 1)
	}
	wrong := add("Welcome-Leter")
	require.Equal(t, "IU003", wrong.Code)
	require.Equal(t, `template "Welcome-Leter" does not exist`, wrong.Message)
	require.Regexp(t, `^Did you mean: welcome-letter`, wrong.Hint)
	require.Equal(t, "Pass the collection key of a template.", add(nil).Hint)
	require.Equal(t, "IU003", add(uuid.NewString()).Code)
	require.Empty(t, rows(t, db, "SELECT id::text FROM iu_outbox.event"))
}
