package dberror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/riverui/internal/dberror"
)

func TestLostConnectionsAreReportedAsLost(t *testing.T) {
	t.Parallel()
	for err, status := range map[error]int{
		&pgconn.PgError{Code: "57P01"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "57P02"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "57P03"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "08006"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "25P03"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "25006"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "57014"}:                      http.StatusServiceUnavailable,
		&pgconn.PgError{Code: "XX000"}:                      http.StatusInternalServerError,
		fmt.Errorf("read: %w", io.ErrUnexpectedEOF):         http.StatusServiceUnavailable,
		&net.OpError{Op: "read", Err: syscall.ECONNRESET}:   http.StatusServiceUnavailable,
		fmt.Errorf("write: %w", net.ErrClosed):              http.StatusServiceUnavailable,
		fmt.Errorf("commit: %w", context.DeadlineExceeded):  http.StatusServiceUnavailable,
		errors.New("what the program does wrong"):           http.StatusInternalServerError,
		fmt.Errorf("x: %w", &pgconn.PgError{Code: "42501"}): http.StatusForbidden,
		fmt.Errorf("x: %w", &pgconn.PgError{Code: "42P01"}): http.StatusServiceUnavailable,
		fmt.Errorf("x: %w", &pgconn.PgError{Code: "23505"}): http.StatusBadRequest,
		fmt.Errorf("x: %w", &pgconn.PgError{Code: "40001"}): http.StatusServiceUnavailable,
		fmt.Errorf("x: %w", &pgconn.PgError{Code: "53300"}): http.StatusServiceUnavailable,
		fmt.Errorf("x: %w", &pgconn.PgError{Code: "55P03"}): http.StatusServiceUnavailable,
	} {
		got, sentence := dberror.Explain(err)
		require.Equal(t, status, got, err)
		require.NotContains(t, sentence, "busy (terminating", err)
	}
}
