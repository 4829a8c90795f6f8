package iusql

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Print writes what Up would run on the database as a script for psql -v ON_ERROR_STOP=1 -f, including River's
// statements and all bookkeeping. After the script, Up has nothing left to do. Print changes nothing and needs only
// the privilege to read: the role that runs the script needs the others. For all other reasons it fails as Up does.
func Print(ctx context.Context, cfg Config, w io.Writer) error {
	return inSession(ctx, cfg, func(s *session) error {
		st, steps, err := s.prepareUp(ctx, false)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, s.script(st, steps)); err != nil {
			return fmt.Errorf("write the script: %w", err)
		}
		return nil
	})
}

// printedSettings are those settings of our sessions on which statements that change the schema depend.
const printedSettings = `SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET search_path = pg_catalog, public, pg_temp;
SET default_transaction_isolation = 'read committed';
SET quote_all_identifiers = off;
SET row_security = on;
SET TimeZone = 'UTC';
`

func (s *session) script(st *state, steps []step) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- What iuworker %s would run to migrate database %s, which is at version %d.\n",
		ProgramVersion, strconv.Quote(st.database), st.version())
	if len(steps) == 0 {
		b.WriteString("-- Nothing: the database is up to date.\n")
		return b.String()
	}
	b.WriteString("-- Run it with: psql -X -v ON_ERROR_STOP=1 -f THIS_FILE\n")
	b.WriteString(printedSettings + settings(s.cfg.LockTimeout))
	fmt.Fprintf(&b, "SELECT pg_catalog.pg_advisory_lock(%d); -- until psql ends\n%s", int64(lockKey), guardSQL(st))
	for _, step := range steps {
		fmt.Fprintf(&b, "\n-- %s\nBEGIN;\n%s\nCOMMIT;\n", step.title, step.text())
	}
	return b.String()
}

// guardSQL stops the script on a database whose versions are not those for which it was printed.
func guardSQL(st *state) string {
	known := slices.Sorted(maps.Keys(st.applied))
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(known), " ", ","), "[]")
	return fmt.Sprintf(`DO $$
DECLARE
    v_versions bigint[] := '{}';
BEGIN
    IF pg_catalog.to_regclass('%[1]s') IS NOT NULL THEN
        v_versions := ARRAY(SELECT DISTINCT v.version_id FROM %[1]s AS v
                            WHERE v.is_applied AND v.version_id > 0 ORDER BY v.version_id);
    END IF;
    IF v_versions <> '{%[2]s}' THEN
        RAISE EXCEPTION 'this script was printed for a database with the versions {%[2]s}, here are %%: print it again', v_versions;
    END IF;
END
$$;
`, gooseTable, list)
}
