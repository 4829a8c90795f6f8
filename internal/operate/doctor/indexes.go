package doctor

import (
	"context"
	"strings"

	"github.com/iu-core/iuworker/internal/operate"
)

// indexes that are not valid were left by an index build that failed; one that is being built now is none of those.
func (e *examination) indexes(ctx context.Context) (Check, error) {
	invalid, err := e.texts(ctx, `
		SELECT n.nspname || '.' || c.relname
		FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
		JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
		WHERE NOT (i.indisvalid AND i.indisready)
		  AND (n.nspname IN ('iu_outbox', 'iu_river', 'iu_migration')
		    OR n.nspname = 'public' AND (t.relname LIKE 'iu\_%' OR t.relname IN ('dot_config', 'event_type_registry', 'event_route')))
		  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.relid = i.indrelid)
		ORDER BY 1`)
	if err != nil || len(invalid) == 0 {
		return fine("all indexes are valid"), err
	}
	next := "REINDEX INDEX CONCURRENTLY " + invalid[0]
	if strings.Contains(invalid[0], "_ccnew") || strings.Contains(invalid[0], "_ccold") {
		next = "DROP INDEX CONCURRENTLY " + invalid[0] // a leftover of REINDEX, beside the index itself
	}
	return failed("%s not valid: queries do not use it, or rows get past it", operate.Plural(len(invalid), "index is", "indexes are")).
		with(invalid).so("rebuild it, or drop it if a failed rebuild left it behind", psql(next)), nil
}
