package iusql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3/database"
)

const gooseTable = "iu_migration.goose_db_version"

// gooseTableSQL returns the SQL that creates goose's table.
func gooseTableSQL() string {
	return gooseSQL(func(ctx context.Context, store database.Store, to database.DBTxConn) error {
		return errors.Join(store.CreateVersionTable(ctx, to), store.Insert(ctx, to, database.InsertRequest{Version: 0}))
	})
}

// recordSQL returns the SQL that records that a version was applied.
func recordSQL(version int64) string {
	return gooseSQL(func(ctx context.Context, store database.Store, to database.DBTxConn) error {
		return store.Insert(ctx, to, database.InsertRequest{Version: version})
	})
}

// forgetSQL returns the SQL that deletes the record of a version.
func forgetSQL(version int64) string {
	return gooseSQL(func(ctx context.Context, store database.Store, to database.DBTxConn) error {
		return store.Delete(ctx, to, version)
	})
}

// gooseSQL returns the statements that goose runs to write its records.
func gooseSQL(write func(context.Context, database.Store, database.DBTxConn) error) string {
	var texts recorder
	store, err := database.NewStore(database.DialectPostgres, gooseTable)
	if err == nil {
		err = write(context.Background(), store, &texts)
	}
	if err != nil {
		panic(fmt.Sprintf("iusql: %v", err))
	}
	return strings.Join(texts, "")
}

// recorder collects the statements that goose would run. Their arguments are numbers and booleans.
type recorder []string

// ExecContext appends a statement with its arguments written into it.
func (r *recorder) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	for i, arg := range args {
		query = strings.ReplaceAll(query, fmt.Sprintf("$%d", i+1), fmt.Sprint(arg))
	}
	*r = append(*r, query+";\n")
	return nil, nil
}

// QueryContext fails, because goose writes its records without reading.
func (*recorder) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errors.ErrUnsupported
}

// QueryRowContext returns a row that cannot be scanned.
func (*recorder) QueryRowContext(context.Context, string, ...any) *sql.Row { return &sql.Row{} }
