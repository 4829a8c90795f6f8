package iusql_test

import (
	"encoding/binary"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
	iusql "github.com/iu-core/iuworker/sql"
)

const functionsFolder = "iu-outbox/functions"

// functionFiles returns the names of the files that install.sql installs.
func functionFiles(t *testing.T) []string {
	t.Helper()
	manifest, err := iusql.Files.ReadFile(functionsFolder + "/install.sql")
	require.NoError(t, err)
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^\\ir (\S+)$`).FindAllStringSubmatch(string(manifest), -1) {
		names = append(names, match[1])
	}
	return names
}

func TestEveryFunctionFileIsInstalledOnce(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(iusql.Files, functionsFolder+"/*.sql")
	require.NoError(t, err)
	var there []string
	for _, file := range files {
		if name := path.Base(file); name != "install.sql" {
			there = append(there, name)
		}
	}
	installed := functionFiles(t)
	slices.Sort(installed)
	require.Equal(t, there, installed)
}

func TestPsqlInstallsTheFunctionsAgain(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	before := dump(t, db)
	_, err := iutest.Psql(t, db, "-1", "-f", functionsFolder+"/install.sql")
	require.NoError(t, err)
	require.Equal(t, before, dump(t, db))
}

// The ids of a batch ascend, within a millisecond as well.
func TestIDsOfInstancesAscend(t *testing.T) {
	t.Parallel()
	db := iutest.New(t)
	var started, ended time.Time
	var ids []uuid.UUID
	require.NoError(t, db.Pool.QueryRow(t.Context(), `
		WITH made AS MATERIALIZED (SELECT clock_timestamp() AS started),
		     id AS MATERIALIZED (SELECT g AS n, iu_outbox.uuid7() AS id FROM made, generate_series(1, 2000) AS g),
		     all_ids AS MATERIALIZED (SELECT array_agg(id ORDER BY n) AS ids FROM id)
		SELECT started, ids, clock_timestamp() FROM made, all_ids`).Scan(&started, &ids, &ended))
	require.Len(t, ids, 2000)
	before := uuid.Nil
	for _, id := range ids {
		require.EqualValues(t, 7, id.Version(), id)
		require.Equal(t, uuid.RFC4122, id.Variant(), id)
		require.LessOrEqual(t, before.String()[:18], id.String()[:18], "the millisecond and its fraction")
		made := time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)) //nolint:gosec // 48 bits
		require.WithinRange(t, made, started.Truncate(time.Millisecond), ended)
		before = id
	}
}
