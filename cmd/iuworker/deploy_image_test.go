package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// What the Dockerfile copies is all that the program is built from, and the program runs in an image that holds nothing else: as an
// unprivileged user, in a root with the files of the last stage.
func TestImageRuns(t *testing.T) {
	t.Parallel()
	stages := strings.Split(fileOf(t, "Dockerfile"), "\nFROM ")
	require.Len(t, stages, 3)
	build, final := stages[1], stages[2]
	require.True(t, strings.HasPrefix(final, "scratch\n"))
	source, root := t.TempDir(), t.TempDir()
	for _, copied := range regexp.MustCompile(`(?m)^COPY (.+) (\S+)$`).FindAllStringSubmatch(build, -1) {
		for name := range strings.FieldsSeq(copied[1]) {
			copySources(t, name, source)
		}
	}
	program := filepath.Join(root, "iuworker")
	require.Contains(t, final, "\nCOPY --from=build /out/iuworker /iuworker\n")
	command := regexp.MustCompile(`(?ms)^RUN (CGO_ENABLED=0 .*?)$[^\\]*\z`).FindStringSubmatch(build)
	require.NotNil(t, command)
	require.Contains(t, command[0], " -o /out/iuworker ./cmd/iuworker\n")
	builder := exec.CommandContext(t.Context(), "sh", "-ec", strings.Replace(strings.TrimPrefix(command[0], "RUN "), "/out/iuworker", program, 1))
	builder.Dir = source
	builder.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "COMMIT=9803cfc9e0b1", "DATE=2026-11-25T18:00:00Z", "TAG=")
	out, err := builder.CombinedOutput()
	require.NoError(t, err, "%s", out)

	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root changes the root")
	}
	require.NoError(t, os.Chmod(root, 0o755)) //nolint:gosec // as in an image
	require.Contains(t, final, "\nUSER 65532:65532\n")
	inside := func(env environment, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "/iuworker", args...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		return cmd
	}
	version, err := inside(nil, "version").CombinedOutput()
	require.NoError(t, err, "%s", version)
	require.Contains(t, string(version), "-dev+9803cfc (2026-11-25), schema ")

	env := on(iutest.New(t))
	env["IUWORKER_HTTP_ADDR"] = "127.0.0.1:0"
	log := newBuffer()
	worker := inside(env, entry(t, final, "CMD")...)
	worker.Stderr = log
	require.NoError(t, worker.Start())
	defer func() { _ = worker.Process.Kill() }() // unless it ended
	log.await(t, `"Worker: ready"`)
	env["IUWORKER_HTTP_ADDR"] = regexp.MustCompile(`"url":"http://([^"/]+)/"`).FindStringSubmatch(log.String())[1]
	health := entry(t, final, "HEALTHCHECK.* CMD")
	require.Equal(t, entry(t, final, "ENTRYPOINT")[0], health[0])
	checked, err := inside(env, health[1:]...).CombinedOutput()
	require.NoError(t, err, "%s", checked)
	require.NoError(t, worker.Process.Signal(syscall.SIGTERM))
	require.NoError(t, worker.Wait(), log.String())
	require.Error(t, inside(env, health[1:]...).Run(), "nothing is alive any more")
}

// entry returns the words of an instruction in JSON's form.
func entry(t testing.TB, stage, instruction string) (words []string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + instruction + ` \[(.*)\]$`).FindStringSubmatch(stage)
	require.NotNil(t, found, instruction)
	for word := range strings.SplitSeq(found[1], ", ") {
		words = append(words, strings.Trim(word, `"`))
	}
	return words
}

// copySources copies what COPY takes of the repository, without what .dockerignore leaves out.
func copySources(t testing.TB, name, to string) {
	t.Helper()
	require.Contains(t, fileOf(t, ".dockerignore"), "\n!"+name+"\n", "it does not reach the builder")
	require.NoError(t, filepath.WalkDir(inRepository(name), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := filepath.Rel(inRepository("."), path)
		require.NoError(t, err)
		switch {
		case entry.IsDir() && entry.Name() == "testdata":
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, at), 0o750)
		case strings.HasSuffix(entry.Name(), "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // a file of this repository
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(to, at)), 0o750))
		return os.WriteFile(filepath.Join(to, at), text, 0o600)
	}))
}
