package iusql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3/database"
)

// recordSQL returns what goose would run to remember that a step was done.
func (st step) recordSQL(ctx context.Context) (string, error) {
	if st.version == 0 {
		return "", nil
	}
	return gooseSQL(func(store database.Store, to database.DBTxConn) error {
		return store.Insert(ctx, to, database.InsertRequest{Version: st.version})
	})
}

// gooseTableSQL returns what goose would run to make its table.
func gooseTableSQL(ctx context.Context) (string, error) {
	return gooseSQL(func(store database.Store, to database.DBTxConn) error {
		return errors.Join(store.CreateVersionTable(ctx, to), store.Insert(ctx, to, database.InsertRequest{Version: 0}))
	})
}

func gooseSQL(write func(database.Store, database.DBTxConn) error) (string, error) {
	store, err := database.NewStore(database.DialectPostgres, gooseTable)
	if err != nil {
		return "", fmt.Errorf("set up the migrations: %w", err)
	}
	var texts recorder
	if err := write(store, &texts); err != nil {
		return "", fmt.Errorf("set up the migrations: %w", err)
	}
	return strings.Join(texts, ""), nil
}

// recorder keeps the statements that goose would run. Their arguments are numbers and booleans.
type recorder []string

var errReads = errors.New("a recorder of statements answers none")

// ExecContext keeps a statement with its arguments written into it.
func (r *recorder) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	for i, arg := range args {
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i+1), fmt.Sprint(arg))
	}
	*r = append(*r, query+";\n")
	return nil, nil
}

// QueryContext fails.
func (r *recorder) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errReads
}

// QueryRowContext returns nothing that could be scanned; goose writes without reading.
func (r *recorder) QueryRowContext(context.Context, string, ...any) *sql.Row { return &sql.Row{} }
