package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// outdated is a collation whose rules may have changed since indexes were built by it.
type outdated struct {
	Name              string // quoted; "": the database's own
	Recorded, Present string
}

// The database's collation, and those of columns in indexes of ours.
const outdatedSQL = `
	SELECT '', d.datcollversion, COALESCE(pg_catalog.pg_database_collation_actual_version(d.oid), 'unknown')
	FROM pg_catalog.pg_database AS d
	WHERE d.datname = pg_catalog.current_database()
	  AND d.datcollversion <> COALESCE(pg_catalog.pg_database_collation_actual_version(d.oid), 'unknown')
	UNION ALL
	SELECT pg_catalog.format('%I.%I', n.nspname, c.collname), c.collversion, COALESCE(pg_catalog.pg_collation_actual_version(c.oid), 'unknown')
	FROM pg_catalog.pg_collation AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace
	WHERE c.collversion <> COALESCE(pg_catalog.pg_collation_actual_version(c.oid), 'unknown')
	  AND EXISTS (
		SELECT FROM pg_catalog.pg_index AS i
		JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid
		JOIN pg_catalog.pg_namespace AS s ON s.oid = t.relnamespace
		WHERE c.oid = ANY (i.indcollation::oid[]) AND (s.nspname IN ('iu_outbox', 'iu_river')
			OR s.nspname = 'public' AND (t.relname LIKE 'iu\_%' OR t.relname IN ('dot_config', 'event_type_registry', 'event_route'))))
	ORDER BY 1
	LIMIT 20`

// collations looks for collations whose rules changed with the operating system: indexes then miss rows, and unique keys let
// duplicates in.
func (e *examination) collations(ctx context.Context, tx pgx.Tx) (Check, error) {
	changed, err := structs[outdated](ctx, tx, outdatedSQL)
	if err != nil || len(changed) == 0 {
		return fine("the server sorts text as it did when the indexes were built"), err
	}
	var details []string
	quoted := pgx.Identifier{e.database}.Sanitize()
	next := []string{psql("REINDEX DATABASE CONCURRENTLY " + quoted)}
	for _, c := range changed {
		name, refresh := "collation "+c.Name, "ALTER COLLATION "+c.Name+" REFRESH VERSION"
		if c.Name == "" {
			name, refresh = "database "+quoted, "ALTER DATABASE "+quoted+" REFRESH COLLATION VERSION"
		}
		details = append(details, fmt.Sprintf("%s: built with version %s, and the server has %s", name, c.Recorded, c.Present))
		next = append(next, psql(refresh))
	}
	return warn("the server no longer sorts text as it did when the indexes were built: unique keys may let duplicates in").
		with(details).so("rebuild the indexes first, then record the new version, then run iuworker verify", append(next, "iuworker verify")...), nil
}
