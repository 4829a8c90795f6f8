package iusql_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// data returns the rows of all tables, one line per row.
func data(t testing.TB, db *iutest.DB) string {
	t.Helper()
	out, err := iutest.Program(t, "pg_dump", "--data-only", "--inserts", db.URL)
	require.NoError(t, err)
	return strings.Join(regexp.MustCompile(`(?m)^INSERT .*$`).FindAllString(out, -1), "\n")
}

// parts splits a dump at its blank lines.
func parts(dump string) []string {
	return regexp.MustCompile(`\n\n+`).Split(strings.TrimSpace(dump), -1)
}

// fails requires a psql run to fail with these texts in its error, and to change nothing.
func (c core) fails(t testing.TB, texts []string, args ...string) {
	t.Helper()
	before := dump(t, c.DB)
	_, err := iutest.Psql(t, c.DB, args...)
	require.Error(t, err)
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
	require.Equal(t, before, dump(t, c.DB))
}

// 033 only adds objects, and its rollback removes them.
func TestInstantiateOnlyAdds(t *testing.T) {
	t.Parallel()
	for name, baseline := range map[string]string{"created": baselineSQL, "adopted": adoptedSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baseline)
			before, rowsBefore := dump(t, c.DB), data(t, c.DB)
			c.psql(t, "-f", instantiateSQL)
			after, rowsAfter := dump(t, c.DB), data(t, c.DB)
			require.Empty(t, without(parts(before), parts(after)))
			require.NotEqual(t, before, after)
			require.Empty(t, without(strings.Split(rowsBefore, "\n"), strings.Split(rowsAfter, "\n")))
			require.Equal(t, []string{
				"iu_core.auto_instantiate_enabled=false", "iu.template.instance_auto_composed=update/delayed/true",
			}, rows(t, c.DB, `
				SELECT key || '=' || value FROM dot_config WHERE key = 'iu_core.auto_instantiate_enabled'
				UNION ALL
				SELECT concat(event_type, '=', event_stream, '/', delivery_lane, '/', active::text) FROM event_type_registry
				WHERE event_type = 'iu.template.instance_auto_composed'`))
			require.Empty(t, rows(t, c.DB, "SELECT event_type FROM event_route WHERE event_type = 'iu.template.instance_auto_composed'"))

			c.psql(t, "-f", uninstantiateSQL)
			require.Equal(t, before, dump(t, c.DB))
			require.Equal(t, rowsBefore, data(t, c.DB))
			c.psql(t, "-f", instantiateSQL)
			require.Equal(t, after, dump(t, c.DB))
		})
	}
}

func TestBaselineLeavesACoreAlone(t *testing.T) {
	t.Parallel()
	for name, baseline := range map[string]string{"created": baselineSQL, "adopted": adoptedSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baseline)
			before, rowsBefore := dump(t, c.DB), data(t, c.DB)
			c.psql(t, "-f", baselineSQL)
			require.Equal(t, before, dump(t, c.DB))
			require.Equal(t, rowsBefore, data(t, c.DB))
		})
	}
}

func TestBaselineNamesStrays(t *testing.T) {
	t.Parallel()
	c := newCore(t)
	c.Exec(t, `
		CREATE VIEW dot_config AS SELECT 1 AS x;
		CREATE TABLE iu_piece (x int);
		CREATE FUNCTION fn_iu_compose(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE TABLE shop (x int)`)
	c.fails(t, []string{"public.dot_config", "public.iu_piece", "fn_iu_compose(integer)"}, "-f", baselineSQL)
	c.fails(t, []string{"iu_piece_collection", "fn_iu_composer_enabled()", "032_iu_core_baseline.sql"}, "-f", instantiateSQL)
}

// 033 names all prerequisites that are missing before it changes anything.
func TestInstantiateNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := newCore(t, adoptedSQL)
	c.Exec(t, `
		DROP FUNCTION fn_iu_compose(text, text, uuid[], text, text);
		DROP FUNCTION fn_iu_composer_enabled();
		CREATE FUNCTION fn_iu_composer_enabled() RETURNS text LANGUAGE sql AS 'SELECT ''true''';
		ALTER TABLE event_type_registry RENAME COLUMN delivery_lane TO lane;
		ALTER TABLE iu_collection_template_registry ALTER COLUMN is_template TYPE text;
		ALTER TABLE iu_collection_template_version RENAME TO iu_versions`)
	c.fails(t, []string{
		"function public.fn_iu_compose(text, text, uuid[], text, text) returning jsonb",
		"function public.fn_iu_composer_enabled() returning boolean",
		"column public.event_type_registry.delivery_lane",
		"column public.iu_collection_template_registry.is_template (boolean)",
		"column public.iu_collection_template_version.collection_id (uuid)",
	}, "-f", instantiateSQL)
}

// A file that is run a second time by mistake refuses, whether or not psql stops at the error.
func TestSecondRunsChangeNothing(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.fails(t, []string{"033 is here already"}, "-f", instantiateSQL)
	before, rowsBefore := dump(t, c.DB), data(t, c.DB)
	c.psql(t, "-v", "ON_ERROR_STOP=0", "-f", instantiateSQL)
	require.Equal(t, before, dump(t, c.DB))
	require.Equal(t, rowsBefore, data(t, c.DB))
	c.psql(t, "-f", uninstantiateSQL)
	c.fails(t, []string{"REFUSED", "033 is not here"}, "-f", uninstantiateSQL)
}

func TestUninstantiateRefusesToForgetRows(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	before := dump(t, c.DB)
	c.psql(t, "-f", instantiateSQL)
	c.OpenGates(t)
	template := c.Template(t, "kit", 2)
	for _, suffix := range []string{"a", "b"} {
		c.must(t, "instantiated", call{uuid.New(), template, suffix, "dry_run", "shop"})
	}
	refusal := []string{"ERROR:  REFUSED", "2 row(s)", "SET iu_core.force_rollback_033 = 'true'", "iuworker migrate down --to 32 --force"}
	c.fails(t, refusal, "-f", uninstantiateSQL)
	c.fails(t, refusal, "-c", "SET iu_core.force_rollback_033 = 'false'", "-f", uninstantiateSQL)
	rowsBefore := data(t, c.DB)
	c.psql(t, "-v", "ON_ERROR_STOP=0", "-f", uninstantiateSQL)
	require.Equal(t, rowsBefore, data(t, c.DB))

	// Composed collections stay: they are iu-core's.
	c.psql(t, "-c", "SET iu_core.force_rollback_033 = 'true'", "-f", uninstantiateSQL)
	require.Equal(t, before, dump(t, c.DB))
	require.Equal(t, []string{"tpl-inst:auto:a", "tpl-inst:auto:b"}, rows(t, c.DB, `
		SELECT c.collection_key FROM iu_piece_collection AS c JOIN iu_collection_template_instance_lineage AS t
		ON t.instance_collection_id = c.id ORDER BY c.collection_key`))
}

// No instance can be composed between the count and the drop.
func TestUninstantiateSeesWhatIsBeingComposed(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	c.OpenGates(t)
	args := call{uuid.New(), c.Template(t, "kit", 2), "a", "live", "shop"}
	tx := c.begin(t)
	_, err := args.in(t.Context(), tx)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := iutest.Psql(t, c.DB, "-f", uninstantiateSQL)
		done <- err
	}()
	iutest.WaitBlocked(t, c.DB, 1)
	require.NoError(t, tx.Commit(t.Context()))
	err = <-done
	require.ErrorContains(t, err, "REFUSED")
	require.ErrorContains(t, err, "1 row(s)")
}

func TestUninstantiateRefusesUnderTheOutbox(t *testing.T) {
	t.Parallel()
	c := core{iutest.New(t)}
	refusal := []string{"ERROR:  REFUSED", "iu_outbox", "iuworker migrate down --to 32"}
	c.fails(t, refusal, "-f", uninstantiateSQL)
	c.fails(t, refusal, "-c", "SET iu_core.force_rollback_033 = 'true'", "-f", uninstantiateSQL)
}
