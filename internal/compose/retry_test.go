package compose_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/compose"
)

// A fault of the installation has a name and a fix. An error from an application's own tables is not such a fault.
func TestFaultOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  pgconn.PgError
		says string // "": an error of the event
		help string
	}{
		{pgconn.PgError{Code: "42501", Message: "permission denied for schema public"}, "a privilege is missing: permission denied", "iuworker migrate up"},
		{pgconn.PgError{Code: "42501", File: "execMain.c", Routine: "ExecWithCheckOptions"}, "row security is in the way", "iuworker doctor"},
		{pgconn.PgError{Code: "42883"}, "something is missing", "iuworker migrate up"},
		{pgconn.PgError{Code: "42P01"}, "something is missing", "iuworker migrate up"},
		{pgconn.PgError{Code: "25006"}, "the server is read-only", "primary"},
		{pgconn.PgError{Code: "53100"}, "the disk is full", "make room"},
		{pgconn.PgError{Code: "53300"}, "a limit of the server is reached", "raise it"},
		{pgconn.PgError{Code: "XX002"}, "corrupted", "REINDEX"},
		{pgconn.PgError{Code: "23505", SchemaName: "iu_outbox", ConstraintName: "emission_pkey"}, "a sequence is behind",
			"SELECT setval('iu_outbox.emission_id_seq', GREATEST((SELECT max(id) FROM iu_outbox.emission)"},
		{pgconn.PgError{Code: "23505", SchemaName: "iu_river", ConstraintName: "river_job_pkey"}, "a sequence is behind", "iu_river.river_job_id_seq"},
		{pgconn.PgError{Code: "23505", SchemaName: "public", ConstraintName: "emission_pkey"}, "", ""},
		{pgconn.PgError{Code: "23505", SchemaName: "iu_outbox", ConstraintName: "emission_position_key"}, "", ""},
		{pgconn.PgError{Code: "P0001"}, "", ""},
		{pgconn.PgError{Code: "22P05"}, "", ""},
		{pgconn.PgError{Code: "57014"}, "", ""},
		{pgconn.PgError{Code: "55P03"}, "", ""},
	} {
		fault, ok := compose.FaultOf(fmt.Errorf("call: %w", &test.err))
		require.Equal(t, test.says != "", ok, test.err.Code)
		require.Contains(t, fault.Says, test.says)
		require.Contains(t, fault.Help, test.help)
	}
}

// One event can cause a timeout or a lack of resources. It cannot end a session.
func TestDivides(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"57014": true, "53200": true, "54001": true, "XX000": true, "55P03": true, "40P01": true, "P0001": true, "22P05": true, "42883": true,
		"57P01": false, "08006": false, "25006": false, "53100": false, "53300": false, "58030": false,
	} {
		require.Equal(t, want, compose.Divides(fmt.Errorf("call: %w", &pgconn.PgError{Code: code})), code)
	}
	require.True(t, compose.Divides(context.DeadlineExceeded))
	require.False(t, compose.Divides(io.ErrUnexpectedEOF))
}
