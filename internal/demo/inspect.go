package demo

import (
	"context"
	"fmt"

	"github.com/iu-core/iuworker/internal/operate"
)

// Ground says whose database it is.
type Ground string

// Results of Inspect.
const (
	GroundEmpty   Ground = "empty"   // it is empty
	GroundOwn     Ground = "own"     // a demo made what is in it
	GroundForeign Ground = "foreign" // somebody else's
)

// markKey is the key of the config row by which Inspect recognizes a database that Mark marked.
const markKey = "iuworker.demo"

// Inspect ignores objects that extensions created.
func Inspect(ctx context.Context, q operate.Querier) (Ground, error) {
	var empty, hasConfig bool
	err := q.QueryRow(ctx, `
		WITH mine AS (
			SELECT n.oid FROM pg_catalog.pg_namespace AS n
			WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
		), extended AS (
			SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d WHERE d.deptype = 'e'
		)
		SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN mine AS m ON m.oid = c.relnamespace
		                   WHERE ('pg_catalog.pg_class'::regclass, c.oid) NOT IN (SELECT e.classid, e.objid FROM extended AS e))
		   AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p JOIN mine AS m ON m.oid = p.pronamespace
		                   WHERE ('pg_catalog.pg_proc'::regclass, p.oid) NOT IN (SELECT e.classid, e.objid FROM extended AS e))
		   AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n JOIN mine AS m ON m.oid = n.oid
		                   WHERE n.nspname <> 'public'
		                     AND ('pg_catalog.pg_namespace'::regclass, n.oid) NOT IN (SELECT e.classid, e.objid FROM extended AS e)),
		       pg_catalog.to_regclass('public.dot_config') IS NOT NULL`).Scan(&empty, &hasConfig)
	if err != nil {
		return "", fmt.Errorf("inspect the database: %w", err)
	}
	if empty {
		return GroundEmpty, nil
	}
	if !hasConfig {
		return GroundForeign, nil
	}
	var marked bool
	err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM public.dot_config AS c WHERE c.key = $1)", markKey).Scan(&marked)
	if err != nil {
		return "", fmt.Errorf("look for the mark of a demo: %w", err)
	}
	if marked {
		return GroundOwn, nil
	}
	return GroundForeign, nil
}

// Mark marks a database as the demo's own. Call it if Inspect found it empty.
func Mark(ctx context.Context, q operate.Querier) error {
	_, err := q.Exec(ctx, `
		INSERT INTO public.dot_config (key, value, description, updated_by)
		VALUES ($1, 'true', 'iuworker demo made this database and may use it again', $2)
		ON CONFLICT (key) DO NOTHING`, markKey, Actor)
	if err != nil {
		return fmt.Errorf("mark the database as the demo's own: %w", err)
	}
	return nil
}
