package iusql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// set_obstacle knows the functions that 032 and 033 create: a change of one of them must show that compose_set does the same.
func TestSetObstacleKnowsTheFunctionsOfIuCore(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	var known string
	require.NoError(t, db.Pool.QueryRow(t.Context(),
		"SELECT p.prosrc FROM pg_proc AS p WHERE p.oid = 'iu_outbox.set_obstacle()'::regprocedure").Scan(&known))
	rows, err := db.Pool.Query(t.Context(), `
		SELECT p.proname::text, iu_outbox.body_digest(p.oid) FROM pg_proc AS p
		WHERE p.pronamespace = 'public'::regnamespace
		  AND p.proname IN ('fn_iu_composer_enabled', 'fn_iu_collection_digest', 'fn_iu_compose',
			'fn_iu_collection_record_template_instance', 'fn_iu_auto_instantiate_from_event')`)
	require.NoError(t, err)
	created, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f struct{ name, digest string }, err error) {
		return f, row.Scan(&f.name, &f.digest)
	})
	require.NoError(t, err)
	require.Len(t, created, 5)
	for _, f := range created {
		require.Contains(t, known, "('"+f.name+"', ", "set_obstacle() must compare %s", f.name)
		for line := range strings.Lines(known) {
			if strings.Contains(line, "('"+f.name+"', ") && !strings.Contains(line, "'"+f.digest+"'") {
				require.Fail(t, fmt.Sprintf("%s has changed, so no instance is composed in sets", f.name),
					"Make compose_set do what the new %s does, and let TestSetsComposeWhatTheFunctionComposes prove it "+
						"(go test ./internal/compose -run TestSets -rapid.checks 2000). Then add its digest, '%s', beside the ones that are there "+
						"to set_obstacle() in sql/iu-outbox/functions/compose_set.sql.", f.name, f.digest)
			}
		}
	}
}
