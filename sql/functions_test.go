package iusql_test

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"testing"

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
