package main

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	iusql "github.com/iu-core/iuworker/sql"
)

func (a *app) versionCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "version",
		Short: "Print the version and build of the program",
		RunE: func(*cobra.Command, []string) error {
			result := programBuild()
			return a.print(result, func(w io.Writer) {
				fmt.Fprintf(w, "iuworker %s, schema %d, %s\n", result, result.Schema, result.Go)
			})
		},
	})
}

// build says what this program was built from. Commit and Date are "" if the build did not record them.
type build struct {
	Program string `json:"program"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit
	Release bool   `json:"release"`        // built from the tag of the version, unchanged
	Schema  int    `json:"schema"`
	Go      string `json:"go"`
}

// What a build sets with -ldflags "-X main.commit=..." if the toolchain cannot record it, as in an image that is built without
// the repository. They win over what the toolchain recorded.
var (
	commit string // the full hash
	date   string // of the commit, RFC 3339
	tag    string // of a release, such as v0.1.0; "" for other builds
)

// pseudoVersion matches the version that go install gives to a commit without a tag.
var pseudoVersion = regexp.MustCompile(`[-.](\d{14})-([0-9a-f]{12})(\+.*)?$`)

const shortCommit = 7

// stamped returns the build with what the build set itself.
func (b build) stamped(commit, date, tag string) build {
	if commit != "" {
		b.Commit = commit[:min(len(commit), shortCommit)]
		b.Release = tag == "v"+iusql.ProgramVersion
	}
	if day, _, _ := strings.Cut(date, "T"); day != "" {
		b.Date = day
	}
	return b
}

// readBuild reads what the Go toolchain recorded: the commit if built from a clone, the module's version if by go install.
func readBuild(info *debug.BuildInfo) build {
	b := build{Program: iusql.ProgramVersion, Schema: iusql.SchemaVersion, Go: runtime.Version()}
	if info == nil {
		return b
	}
	b.Release = info.Main.Version == "v"+iusql.ProgramVersion
	if found := pseudoVersion.FindStringSubmatch(info.Main.Version); found != nil {
		b.Commit = found[2]
		if at, err := time.Parse("20060102150405", found[1]); err == nil {
			b.Date = at.Format(time.DateOnly)
		}
	}
	changed := false
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Date, _, _ = strings.Cut(setting.Value, "T")
		case "vcs.modified":
			changed = setting.Value == "true"
		}
	}
	b.Commit = b.Commit[:min(len(b.Commit), shortCommit)]
	if changed && b.Commit != "" {
		b.Commit += ".dirty"
	}
	return b
}

// String returns "0.1.0", or "0.1.0-dev+9803cfc (2026-11-25)" for a build from a commit without a release.
func (b build) String() string {
	text := b.Program
	if b.Commit != "" && !b.Release {
		text += "-dev+" + b.Commit
	}
	if b.Date != "" {
		text += " (" + b.Date + ")"
	}
	return text
}

func programBuild() build {
	info, _ := debug.ReadBuildInfo() // nil if the program was built without modules
	return readBuild(info).stamped(commit, date, tag)
}
