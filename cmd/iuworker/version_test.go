package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	iusql "github.com/iu-core/iuworker/sql"
)

func TestVersionNamesItsCommit(t *testing.T) {
	t.Parallel()
	info := func(version string, settings ...string) *debug.BuildInfo {
		info := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			info.Settings = append(info.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return info
	}
	const revision, at = "9803cfc9e0b1", "2026-11-25T18:00:00Z"
	program := iusql.ProgramVersion
	for says, built := range map[string]*debug.BuildInfo{
		program:                               info("(devel)"),
		program + "-dev+9803cfc (2026-11-25)": info("v0.0.0-20261125180000-9803cfc9e0b1"),
		program + "-dev+9803cfc.dirty (2026-11-25)": info("(devel)", "vcs.revision", revision, "vcs.time", at, "vcs.modified", "true"),
		program + " (2026-11-25)":                   info("v"+program, "vcs.revision", revision, "vcs.time", at, "vcs.modified", "false"),
	} {
		require.Equal(t, says, readBuild(built).String())
	}
	require.Equal(t, program, readBuild(nil).String())
	// An image or a package is built without the repository, and says itself what from.
	require.Equal(t, program+"-dev+9803cfc (2026-11-25)", readBuild(nil).stamped(revision, at, "").String())
	require.Equal(t, program+" (2026-11-25)", readBuild(info("(devel)")).stamped(revision, at, "v"+program).String())
	require.Equal(t, program, readBuild(nil).stamped("", "", "").String())
	require.Equal(t, 36, decode[build](t, run(t, nil, "version", "--json").done(t)).Schema)
}

// go install builds no module that replaces or excludes others.
func TestGoInstallTakesTheModule(t *testing.T) {
	t.Parallel()
	file, err := modfile.Parse("go.mod", []byte(fileOf(t, "go.mod")), nil)
	require.NoError(t, err)
	require.Empty(t, file.Replace)
	require.Empty(t, file.Exclude)
	info, ok := debug.ReadBuildInfo()
	require.True(t, ok)
	require.Equal(t, file.Module.Mod.Path, info.Main.Path)
}
