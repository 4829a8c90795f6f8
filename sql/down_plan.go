package iusql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/iu-core/iuworker/internal/names"
)

// A downPlan is what Down does, in one transaction.
type downPlan struct {
	locks   []string // tables, in the order in which they are locked
	schemas []string // to drop
	losses  []loss
	steps   []step
}

// A loss is a kind of rows that would be lost, and the query that counts them.
type loss struct{ what, query string }

// planDown returns the plan that removes what the database has above version to.
func planDown(st *state, to int64) downPlan {
	var plan downPlan
	drops := func(version int64) bool { return st.has(version) && to < version }
	if drops(versionShared) {
		plan.shared()
	}
	// If Up was interrupted among River's migrations, the schema exists without the version.
	if to < versionRiver && st.schemas[names.RiverSchema] && st.origins[originRiver] == created {
		plan.river(st)
	}
	if drops(versionOutbox) {
		plan.outbox()
	}
	if drops(versionInstantiate) {
		plan.instantiate(st.origins[originInstantiate])
	}
	return plan
}

// downLocks are the tables in the order in which workers lock them: gates, collections, outbox, jobs, dead letters, log,
// emissions.
var downLocks = []string{
	"public.dot_config", "public.iu_piece_collection", "public.iu_collection_template_instance_lineage",
	"iu_outbox.event", JobTable, "iu_outbox.dead_letter", "iu_outbox.consumer_dead_letter",
	"public." + logTable, "iu_outbox.emission",
}

func (p *downPlan) lock(tables ...string) { p.locks = append(p.locks, tables...) }

func (p *downPlan) shared() {
	p.steps = append(p.steps, step{version: versionShared, title: versionName(versionShared), sql: []string{
		body(unsharedFile), schemaVersionSQL(versionRiver),
	}})
}

// schemaVersionSQL records the version that Down leaves; the next Up installs the functions again.
func schemaVersionSQL(version int64) string {
	return fmt.Sprintf("UPDATE iu_outbox.schema_info SET schema_version = %d, functions_hash = '', updated_at = pg_catalog.now();\n", version)
}

func (p *downPlan) river(st *state) {
	p.schemas = append(p.schemas, names.RiverSchema)
	next := step{title: names.RiverSchema, sql: []string{dropRiverSQL, forgetOriginSQL(originRiver)}}
	if st.has(versionRiver) {
		next.version, next.title, next.origin = versionRiver, versionName(versionRiver), created
		p.lock(JobTable)
		p.losses = append(p.losses, loss{"unfinished jobs", "SELECT count(*) FROM " + JobTable + " WHERE finalized_at IS NULL"})
	}
	if st.schema != nil {
		next.sql = append(next.sql, schemaVersionSQL(versionOutbox))
	}
	p.steps = append(p.steps, next)
}

func (p *downPlan) outbox() {
	p.schemas = append(p.schemas, "iu_outbox")
	p.lock("public.dot_config", "public."+logTable, "iu_outbox.event", "iu_outbox.dead_letter", "iu_outbox.consumer_dead_letter", "iu_outbox.emission")
	p.losses = append(p.losses,
		loss{"outbox rows", "SELECT count(*) FROM iu_outbox.event"},
		loss{"emissions", "SELECT count(*) FROM iu_outbox.emission"},
		loss{"dead letters", "SELECT count(*) FROM iu_outbox.dead_letter"},
		loss{"dead letters of consumers", "SELECT count(*) FROM iu_outbox.consumer_dead_letter"})
	p.steps = append(p.steps, step{version: versionOutbox, title: versionName(versionOutbox), sql: []string{body(unoutboxFile)}})
}

func (p *downPlan) instantiate(origin string) {
	next := step{version: versionInstantiate, title: versionName(versionInstantiate), origin: origin}
	if origin == created {
		// Dropping the log also locks the tables that it refers to.
		p.lock("public.iu_piece_collection", "public.iu_collection_template_instance_lineage", "public."+logTable)
		p.losses = append(p.losses, loss{"log rows", "SELECT count(*) FROM public." + logTable})
		next.sql = append(next.sql, body(uninstantiateFile))
	}
	next.sql = append(next.sql, forgetOriginSQL(originInstantiate))
	p.steps = append(p.steps, next)
}

func forgetOriginSQL(object string) string {
	return fmt.Sprintf("DELETE FROM iu_migration.origin WHERE object = '%s';\n", object)
}

// run removes everything, or nothing if that would lose rows or others' objects.
func (p *downPlan) run(ctx context.Context, tx pgx.Tx, to int64, force bool) error {
	if err := p.prepare(ctx, tx, to, force); err != nil {
		return err
	}
	for _, step := range p.steps {
		text := step.text()
		if step.version > 0 {
			text += forgetSQL(step.version)
		}
		if _, err := tx.Exec(ctx, text); err != nil {
			return fmt.Errorf("remove %s: %w", step.title, explain(err))
		}
	}
	return nil
}

// prepare locks the tables, and fails if rows or others' objects would be lost.
func (p *downPlan) prepare(ctx context.Context, tx pgx.Tx, to int64, force bool) error {
	locks := slices.DeleteFunc(slices.Clone(downLocks), func(table string) bool { return !slices.Contains(p.locks, table) })
	if len(locks) > 0 {
		if _, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(locks, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("lock tables: %w", explain(err))
		}
	}
	if err := p.refuseDependents(ctx, tx, to); err != nil {
		return err
	}
	if force {
		_, err := tx.Exec(ctx, "SET LOCAL iu_core.force_rollback_033 = 'true'")
		return err
	}
	var lost []string
	for _, loss := range p.losses {
		var rows int64
		if err := tx.QueryRow(ctx, loss.query).Scan(&rows); err != nil {
			return fmt.Errorf("count %s: %w", loss.what, err)
		}
		if rows > 0 {
			lost = append(lost, fmt.Sprintf("%s: %d", loss.what, rows))
		}
	}
	if len(lost) > 0 {
		return fail(ErrNotEmpty, "going down to %d would lose %s; nothing was changed; add --force to lose them", to, strings.Join(lost, ", "))
	}
	return nil
}

// refuseDependents returns ErrConflict if dropping the schema would drop views or foreign keys of others.
func (p *downPlan) refuseDependents(ctx context.Context, tx pgx.Tx, to int64) error {
	var dependents *string
	if err := tx.QueryRow(ctx, dependentsQuery, p.schemas).Scan(&dependents); err != nil {
		return fmt.Errorf("find what depends on the schema: %w", err)
	}
	if dependents != nil {
		return fail(ErrConflict, "going down to %d would drop %s, which iuworker did not create; nothing was changed; drop that first", to, *dependents)
	}
	return nil
}

// dependentsQuery selects views of other schemas on our tables, and foreign keys of other schemas' tables to them.
const dependentsQuery = `
	SELECT pg_catalog.string_agg(DISTINCT d.name, ' and ' ORDER BY d.name)
	FROM (
	    SELECT t.relnamespace AS ours, v.relnamespace AS theirs, pg_catalog.format('view %s', v.oid::pg_catalog.regclass) AS name
	    FROM pg_catalog.pg_class AS t
	    JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = t.oid
	        AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
	    JOIN pg_catalog.pg_rewrite AS r ON r.oid = d.objid
	    JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class
	    UNION ALL
	    SELECT t.relnamespace, c.relnamespace, pg_catalog.format('the foreign key %I of %s', f.conname, c.oid::pg_catalog.regclass)
	    FROM pg_catalog.pg_constraint AS f
	    JOIN pg_catalog.pg_class AS t ON t.oid = f.confrelid
	    JOIN pg_catalog.pg_class AS c ON c.oid = f.conrelid
	    WHERE f.contype = 'f'
	) AS d
	WHERE d.ours IN (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = ANY ($1))
	  AND d.theirs NOT IN (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname IN ('iu_outbox', 'iu_river'))`
