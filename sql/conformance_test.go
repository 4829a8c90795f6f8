package iusql_test

import (
	"bytes"
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

// results runs a file as the program does, and returns the rows of its queries, columns joined by |.
func results(t testing.TB, conn *pgconn.PgConn, text string) []string {
	t.Helper()
	all, err := conn.Exec(t.Context(), text).ReadAll()
	require.NoError(t, err)
	var got []string
	for _, result := range all {
		for _, row := range result.Rows {
			got = append(got, string(bytes.Join(row, []byte("|"))))
		}
	}
	return got
}

func conformance(t testing.TB, db *iutest.DB) []string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), db.URL)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	return results(t, conn, iusql.Conformance())
}

// of returns the objects with a result, as "class|name|note".
func of(got []string, result string) []string {
	var found []string
	for _, row := range got {
		column := strings.Split(row, "|")
		if column[2] == result && column[1] != "all" {
			found = append(found, column[0]+"|"+column[1]+"|"+column[3])
		}
	}
	return found
}

// classes returns the summary of each class.
func classes(got []string) map[string]string {
	found := map[string]string{}
	for _, row := range got {
		if column := strings.Split(row, "|"); column[1] == "all" {
			found[column[0]] = column[2] + " " + column[3]
		}
	}
	return found
}

// wholeCore is the list of what iu-core consists of, pinned.
var wholeCore = []string{
	"table|dot_config|PASS|",
	"table|event_route|PASS|",
	"table|event_type_registry|PASS|",
	"table|iu_auto_instantiate_event_log|PASS|",
	"table|iu_collection_template_instance_lineage|PASS|",
	"table|iu_collection_template_registry|PASS|",
	"table|iu_collection_template_version|PASS|",
	"table|iu_piece|PASS|",
	"table|iu_piece_collection|PASS|",
	"table|iu_piece_membership|PASS|",
	"table|all|PASS|expected 10, found 10",
	"view|v_iu_auto_instantiate_event_log|PASS|",
	"view|v_iu_auto_instantiate_event_summary|PASS|",
	"view|all|PASS|expected 2, found 2",
	"function|fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)|PASS|",
	"function|fn_iu_auto_instantiate_rollback_by_actor(text, boolean)|PASS|",
	"function|fn_iu_collection_digest(uuid)|PASS|",
	"function|fn_iu_collection_mark_template(uuid, text, boolean)|PASS|",
	"function|fn_iu_collection_record_template_instance(uuid, uuid, text, text)|PASS|",
	"function|fn_iu_compose(text, text, uuid[], text, text)|PASS|",
	"function|fn_iu_composer_enabled()|PASS|",
	"function|all|PASS|expected 7, found 7",
	"trigger|all|PASS|expected 0, found 0",
	"config|iu_core.auto_instantiate_enabled|PASS|",
	"config|iu_core.composer_enabled|PASS|",
	"config|all|PASS|expected 2, found 2",
	"event_type|iu.template.instance_auto_composed|PASS|",
	"event_type|all|PASS|expected 1, found 1",
	"route|all|PASS|expected 0, found 0",
	"verdict|iu-core|7/7 PASS|created by iuworker",
}

func TestConformancePinsTheLists(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL)
	before := conformance(t, c.DB)
	require.Equal(t, []string{
		"table|iu_auto_instantiate_event_log|missing",
		"view|v_iu_auto_instantiate_event_log|missing",
		"view|v_iu_auto_instantiate_event_summary|missing",
		"function|fn_iu_auto_instantiate_from_event(uuid, text, uuid, text, text, text, text)|missing",
		"function|fn_iu_auto_instantiate_rollback_by_actor(text, boolean)|missing",
		"config|iu_core.auto_instantiate_enabled|missing",
		"event_type|iu.template.instance_auto_composed|missing",
	}, of(before, "FAIL"))
	require.Equal(t, map[string]string{
		"table": "FAIL expected 10, found 9", "view": "FAIL expected 2, found 0", "function": "FAIL expected 7, found 5",
		"trigger": "PASS expected 0, found 0", "config": "FAIL expected 2, found 1", "event_type": "FAIL expected 1, found 0",
		"route": "PASS expected 0, found 0",
	}, classes(before))
	require.Equal(t, "verdict|iu-core|2/7 PASS|created by iuworker", before[len(before)-1])

	c.psql(t, "-f", instantiateSQL)
	require.Equal(t, wholeCore, conformance(t, c.DB))
	require.Equal(t, strings.Join(wholeCore, "\n")+"\n", c.psql(t, "-A", "-t", "-f", conformanceSQL), "under psql")
}

// The worker's own objects, including triggers on iu-core's tables, do not count as iu-core's.
func TestConformanceDoesNotSeeTheWorker(t *testing.T) {
	t.Parallel()
	require.Equal(t, wholeCore, conformance(t, iutest.New(t)))
}

func TestConformanceFails(t *testing.T) {
	t.Parallel()
	for statement, want := range map[string][]string{
		"DROP TABLE event_route": {"table|event_route|missing"},
		"DROP TABLE dot_config": {
			"table|dot_config|missing", "config|iu_core.auto_instantiate_enabled|missing", "config|iu_core.composer_enabled|missing",
		},
		"DROP TABLE event_route, event_type_registry": {
			"table|event_route|missing", "table|event_type_registry|missing", "event_type|iu.template.instance_auto_composed|missing",
		},
		"DROP VIEW v_iu_auto_instantiate_event_log":            {"view|v_iu_auto_instantiate_event_log|missing"},
		"DROP FUNCTION fn_iu_composer_enabled":                 {"function|fn_iu_composer_enabled()|missing"},
		"DELETE FROM dot_config WHERE key ~ 'auto'":            {"config|iu_core.auto_instantiate_enabled|missing"},
		"DELETE FROM event_type_registry":                      {"event_type|iu.template.instance_auto_composed|missing"},
		"CREATE TABLE iu_extra ()":                             {"table|iu_extra|unexpected"},
		"CREATE VIEW v_iu_extra AS SELECT 1":                   {"view|v_iu_extra|unexpected"},
		"INSERT INTO dot_config VALUES ('iu_core.x', '')":      {"config|iu_core.x|unexpected"},
		"INSERT INTO event_type_registry VALUES ('iu.x', 'u')": {"event_type|iu.x|unexpected"},
		"CREATE FUNCTION fn_iu_composer_enabled(int) RETURNS int LANGUAGE sql AS 'SELECT 1'": {
			"function|fn_iu_composer_enabled(integer)|unexpected",
		},
		`CREATE FUNCTION notice() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		 CREATE TRIGGER watch AFTER INSERT ON iu_piece FOR EACH ROW EXECUTE FUNCTION notice();
		 CREATE TRIGGER watch AFTER INSERT ON dot_config FOR EACH ROW EXECUTE FUNCTION notice()`: {
			"trigger|watch on dot_config|unexpected", "trigger|watch on iu_piece|unexpected",
		},
		"INSERT INTO event_route (event_type, target, active) VALUES ('iu.template.instance_auto_composed', 'a <b> & ü', false)": {
			"route|iu.template.instance_auto_composed -> a <b> & ü|this event type must have no route",
		},
		"INSERT INTO event_route (event_type) VALUES ('iu.template.instance_auto_composed')": {
			"route|iu.template.instance_auto_composed|this event type must have no route",
		},
		// Objects without one of iu-core's names are ignored.
		`CREATE TABLE iua (); CREATE VIEW shop AS SELECT 1; CREATE SCHEMA iu_other; CREATE TABLE iu_other.iu_x ();
		 INSERT INTO dot_config VALUES ('iu_corex', ''); INSERT INTO event_type_registry VALUES ('iux', 'u'), ('order.placed', 'o');
		 INSERT INTO event_route (event_type, target) VALUES ('order.placed', 'x')`: nil,
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			c := newCore(t, baselineSQL, instantiateSQL)
			c.Exec(t, statement)
			got := conformance(t, c.DB)
			require.Equal(t, want, of(got, "FAIL"))
			require.Empty(t, of(got, "LISTED"))
			failed := map[string]bool{}
			for _, row := range want {
				failed[strings.SplitN(row, "|", 2)[0]] = true
			}
			for class, result := range classes(got) {
				require.Equal(t, failed[class], strings.HasPrefix(result, "FAIL "), class)
				require.Equal(t, !failed[class], strings.HasPrefix(result, "PASS "), class)
			}
			require.Equal(t, "verdict|iu-core|"+string(rune('7'-len(failed)))+"/7 PASS|created by iuworker", got[len(got)-1])
			require.Equal(t, len(want)+len(failed), strings.Count(strings.Join(got, "\n"), "FAIL"), "only on what failed")
		})
	}
}

// The scan lists an adopted core's additional objects, but a route for our event type fails there, too.
func TestConformanceListsWhatAnAdoptedCoreHas(t *testing.T) {
	t.Parallel()
	c := newCore(t, adoptedSQL, instantiateSQL)
	got := conformance(t, c.DB)
	require.NotContains(t, strings.Join(got, "\n"), "FAIL")
	const note = "|this adopted core has it besides"
	require.Equal(t, []string{
		"table|iu_collection_bookmark" + note, "table|iu_lineage_review" + note, "table|iu_membership_pin" + note,
		"view|v_iu_piece_use" + note, "function|fn_iu_touch_piece()" + note, "trigger|iu_piece_touched on iu_piece" + note,
		"config|iu_core.max_pieces" + note, "event_type|iu.piece.updated" + note, "route|iu.piece.updated -> search-index" + note,
	}, of(got, "LISTED"))
	require.Equal(t, "verdict|iu-core|7/7 PASS|adopted", got[len(got)-1])
	passed := of(got, "PASS")
	require.Equal(t, of(wholeCore, "PASS"), passed)

	with := classes(got)
	c.psql(t, "-f", uninstantiateSQL)
	without := classes(conformance(t, c.DB))
	require.Equal(t, map[string]string{
		"table": "FAIL expected 10, found 12", "view": "FAIL expected 2, found 1", "function": "FAIL expected 7, found 6",
		"trigger": with["trigger"], "config": "FAIL expected 2, found 2", "event_type": "FAIL expected 1, found 1", "route": with["route"],
	}, without)
	c.psql(t, "-f", instantiateSQL)
	require.True(t, maps.Equal(with, classes(conformance(t, c.DB))))

	c.Exec(t, "INSERT INTO event_route (event_type, target) VALUES ('iu.template.instance_auto_composed', 'mail')")
	got = conformance(t, c.DB)
	require.Equal(t, []string{"route|iu.template.instance_auto_composed -> mail|this event type must have no route"}, of(got, "FAIL"))
	require.Equal(t, "verdict|iu-core|6/7 PASS|adopted", got[len(got)-1])
}

func TestConformanceWithoutACore(t *testing.T) {
	t.Parallel()
	got := conformance(t, iutest.Empty(t))
	require.Equal(t, "verdict|iu-core|2/7 PASS|there is no iu-core here", got[len(got)-1])
	require.Len(t, of(got, "FAIL"), 22)
}

// The scan needs only SELECT on the three tables whose rows it reads.
func TestConformanceNeedsSelectAlone(t *testing.T) {
	t.Parallel()
	c := newCore(t, baselineSQL, instantiateSQL)
	role, conn := c.member(t)
	c.Exec(t, "GRANT SELECT ON dot_config, event_type_registry, event_route TO "+role)
	require.Equal(t, wholeCore, results(t, conn.PgConn(), iusql.Conformance()))
}
