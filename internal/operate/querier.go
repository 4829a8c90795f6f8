package operate

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/worker/subscribe"
)

// Querier runs statements: *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type Querier = subscribe.DB

// Beginner starts transactions: *pgxpool.Pool or *pgx.Conn.
type Beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// Snapshot are the options of a transaction that reads everything as of one moment.
var Snapshot = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// Collect runs a query and returns its rows.
func Collect[T any](ctx context.Context, q Querier, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// condition is a WHERE clause and its arguments, to which conditions are added one by one.
type condition struct {
	text []string
	args []any
}

// and adds a condition on a value, if the value is given. In text, %d stands for the number of its parameter.
func (c *condition) and(given bool, text string, value any) {
	if given {
		c.args = append(c.args, value)
		c.text = append(c.text, fmt.Sprintf(text, len(c.args)))
	}
}

func (c *condition) String() string {
	return strings.Join(append([]string{"true"}, c.text...), " AND ")
}
