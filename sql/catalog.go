package iusql

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// catalog holds the objects of schema public whose names iu-core uses. Types and referenced tables are written with
// their schema unless they are in pg_catalog, which is the whole search_path while reading.
type catalog struct {
	relations map[string]*relation
	functions map[string][]*function // by name
}

type relation struct {
	Name    string
	Kind    string // as in pg_class.relkind
	columns map[string]*column
	order   []string   // the columns' names in their order
	uniques [][]string // columns of each unique index that a foreign key or ON CONFLICT can use
	indexed []string   // the first column of each index
	foreign []foreignKey
	checks  []check
}

type column struct {
	Table, Name, Type string
	NotNull           bool // for new rows
	HasDefault        bool // or an identity, or a type with a default
	Unchecked         bool // NOT NULL, but older rows were not checked (from PostgreSQL 18 on)
}

type foreignKey struct {
	Table, Column, RefTable, RefColumn string
	OnDelete                           string // as in pg_constraint.confdeltype
	Holds                              bool   // for all rows: neither NOT VALID nor NOT ENFORCED
}

type check struct {
	Table, Definition string
	Columns           []string
}

type function struct {
	Name       string
	Types      string // of its arguments: "uuid, text"
	Arguments  string // with their names: "p_id uuid, p_actor text"
	Returns    string
	Defaults   int // arguments that may be left out
	Ordinary   bool
	Definer    bool // SECURITY DEFINER
	SearchPath string
	Public     bool // PUBLIC may execute it
}

func (f *function) signature() string { return f.Name + "(" + f.Types + ")" }

func readCatalog(ctx context.Context, tx pgx.Tx, relations, functions []string) (*catalog, error) {
	cat := &catalog{relations: map[string]*relation{}, functions: map[string][]*function{}}
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog"); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	for _, read := range []func(context.Context, pgx.Tx, []string) error{
		cat.readRelations, cat.readColumns, cat.readIndexes, cat.readForeignKeys, cat.readChecks,
	} {
		if err := read(ctx, tx, relations); err != nil {
			return nil, err
		}
	}
	err := cat.readFunctions(ctx, tx, functions)
	return cat, err
}

// each calls use for each row of a query about names of schema public.
func each[T any](ctx context.Context, tx pgx.Tx, query string, names []string, use func(T)) error {
	all, err := collect(ctx, tx, "read the catalog", pgx.RowToStructByPos[T], query, names)
	for _, row := range all {
		use(row)
	}
	return err
}

func (cat *catalog) readRelations(ctx context.Context, tx pgx.Tx, names []string) error {
	type row struct{ Name, Kind string }
	return each(ctx, tx, `
		SELECT c.relname::text, c.relkind::text
		FROM pg_catalog.pg_class AS c
		WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY ($1)`, names,
		func(r row) {
			cat.relations[r.Name] = &relation{Name: r.Name, Kind: r.Kind, columns: map[string]*column{}}
		})
}

func (cat *catalog) readColumns(ctx context.Context, tx pgx.Tx, names []string) error {
	return each(ctx, tx, `
		SELECT c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
		       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
		       EXISTS (SELECT FROM pg_catalog.pg_constraint AS n
		               WHERE n.conrelid = c.oid AND n.contype = 'n' AND n.conkey[1] = a.attnum AND NOT n.convalidated)
		FROM pg_catalog.pg_class AS c
		JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
		JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
		WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY c.relname, a.attnum`, names,
		func(col column) {
			rel := cat.relations[col.Table]
			rel.columns[col.Name] = &col
			rel.order = append(rel.order, col.Name)
		})
}

func (cat *catalog) readIndexes(ctx context.Context, tx pgx.Tx, names []string) error {
	type row struct {
		Table   string
		Columns []string
		Unique  bool
	}
	return each(ctx, tx, `
		SELECT c.relname::text,
		       ARRAY(SELECT a.attname::text
		             FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k (n)
		             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n]
		             ORDER BY k.n),
		       i.indisunique AND i.indimmediate
		FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid
		WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY ($1)
		  AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL`, names,
		func(r row) {
			rel := cat.relations[r.Table]
			rel.indexed = append(rel.indexed, r.Columns[0])
			if r.Unique {
				rel.uniques = append(rel.uniques, r.Columns)
			}
		})
}

// readForeignKeys reads the foreign keys that have one column.
func (cat *catalog) readForeignKeys(ctx context.Context, tx pgx.Tx, names []string) error {
	return each(ctx, tx, `
		SELECT c.relname::text, a.attname::text, f.confrelid::pg_catalog.regclass::text, fa.attname::text, f.confdeltype::text, f.convalidated
		FROM pg_catalog.pg_constraint AS f
		JOIN pg_catalog.pg_class AS c ON c.oid = f.conrelid
		JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
		JOIN pg_catalog.pg_attribute AS fa ON fa.attrelid = f.confrelid AND fa.attnum = f.confkey[1]
		WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY ($1)
		  AND f.contype = 'f' AND pg_catalog.cardinality(f.conkey) = 1`, names,
		func(key foreignKey) {
			rel := cat.relations[key.Table]
			rel.foreign = append(rel.foreign, key)
		})
}

func (cat *catalog) readChecks(ctx context.Context, tx pgx.Tx, names []string) error {
	return each(ctx, tx, `
		SELECT c.relname::text, pg_catalog.pg_get_constraintdef(k.oid),
		       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
		             WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) ORDER BY a.attnum)
		FROM pg_catalog.pg_constraint AS k
		JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
		WHERE c.relnamespace = pg_catalog.to_regnamespace('public') AND c.relname = ANY ($1) AND k.contype = 'c' AND k.convalidated`, names,
		func(c check) {
			rel := cat.relations[c.Table]
			rel.checks = append(rel.checks, c)
		})
}

func (cat *catalog) readFunctions(ctx context.Context, tx pgx.Tx, names []string) error {
	return each(ctx, tx, `
		SELECT p.proname::text, pg_catalog.oidvectortypes(p.proargtypes),
		       pg_catalog.pg_get_function_identity_arguments(p.oid), COALESCE(pg_catalog.pg_get_function_result(p.oid), ''),
		       p.pronargdefaults::integer, p.prokind = 'f', p.prosecdef,
		       COALESCE((SELECT pg_catalog.substr(s.setting, pg_catalog.length('search_path=') + 1)
		                 FROM pg_catalog.unnest(p.proconfig) AS s (setting) WHERE s.setting LIKE 'search\_path=%'), ''),
		       EXISTS (SELECT FROM pg_catalog.aclexplode(COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) AS a
		               WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
		FROM pg_catalog.pg_proc AS p
		WHERE p.pronamespace = pg_catalog.to_regnamespace('public') AND p.proname = ANY ($1)
		ORDER BY p.proname, p.oid`, names,
		func(f function) { cat.functions[f.Name] = append(cat.functions[f.Name], &f) })
}
