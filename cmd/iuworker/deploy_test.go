package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/iu-core/iuworker/internal/iutest"
	webui "github.com/iu-core/iuworker/riverui"
)

// The files of an installation name what the program has: commands, flags, variables, values, paths and ports. That the programs
// which read these files accept them is tested in deploy/check.

// stopsWithin is how long a supervisor must wait at least before it kills a worker.
func stopsWithin() time.Duration { return defaultWorkFlags().worker.ShutdownTimeout + 2*time.Second }

// fileOf returns the text of a file of the repository.
func fileOf(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(inRepository(name))
	require.NoError(t, err, name)
	return string(text)
}

// requireCommand requires that the program has the command, accepts the variables as its settings, and needs nothing more.
func requireCommand(t testing.TB, env environment, args ...string) {
	t.Helper()
	root := (&app{}).rootCommand()
	command, rest, err := root.Find(args)
	require.NoError(t, err)
	require.NotNil(t, command.RunE, args)
	require.NoError(t, command.ParseFlags(rest), args)
	require.NoError(t, command.ValidateArgs(command.Flags().Args()), args)
	for name := range env {
		require.Contains(t, settingVariables(), name, args)
	}
	require.NoError(t, applyEnvironment(command, func(name string) string { return env[name] }), args)
	require.NoError(t, checkFlags(command), args)
}

// unitSettings returns the values of a key of the unit.
func unitSettings(unit, key string) (values []string) {
	for _, found := range regexp.MustCompile(`(?m)^`+key+`=(.*)$`).FindAllStringSubmatch(unit, -1) {
		values = append(values, found[1])
	}
	return values
}

const unitFile = "deploy/systemd/iuworker.service"

// The unit starts a command, passes it the address as a credential, and lets it drain.
func TestUnitStartsTheWorker(t *testing.T) {
	t.Parallel()
	unit := fileOf(t, unitFile)
	program, args, _ := strings.Cut(unitSettings(unit, "ExecStart")[0], " ")
	require.Contains(t, fileOf(t, ".goreleaser.yaml"), "\n    binary: "+filepath.Base(program)+"\n")
	require.Equal(t, "/usr/bin", filepath.Dir(program), "where packages put it")
	env := environment{}
	for _, setting := range unitSettings(unit, "Environment") {
		name, value, found := strings.Cut(setting, "=")
		require.True(t, found)
		env[name] = value
	}
	credential, file, _ := strings.Cut(unitSettings(unit, "LoadCredential")[0], ":")
	require.Equal(t, environment{"IUWORKER_DATABASE_URL_FILE": "%d/" + credential}, env)
	requireCommand(t, env, strings.Fields(args)...)
	stop, err := strconv.Atoi(unitSettings(unit, "TimeoutStopSec")[0])
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Duration(stop)*time.Second, stopsWithin())
	require.Equal(t, []string{strconv.Itoa(exitUsage)}, unitSettings(unit, "RestartPreventExitStatus"))
	require.Equal(t, []string{"/bin/kill -HUP $MAINPID"}, unitSettings(unit, "ExecReload"), "SIGHUP re-reads files")

	settings := strings.TrimPrefix(unitSettings(unit, "EnvironmentFile")[0], "-")
	require.Contains(t, fileOf(t, ".goreleaser.yaml"), "\n        dst: "+settings+"\n")
	require.Equal(t, filepath.Dir(file), filepath.Dir(settings))
	require.Contains(t, fileOf(t, "deploy/systemd/iuworker.env"), file)
	require.Contains(t, fileOf(t, "deploy/systemd/iuworker.sysusers"), "\nu "+unitSettings(unit, "User")[0]+" - ")
}

// Each line of the settings file is a setting of the worker with a value that it accepts.
func TestSettingsFileOfTheUnit(t *testing.T) {
	t.Parallel()
	settings := regexp.MustCompile(`(?m)^#?(IUWORKER_\w+)=(.*)$`).FindAllStringSubmatch(fileOf(t, "deploy/systemd/iuworker.env"), -1)
	require.Greater(t, len(settings), 4)
	for _, setting := range settings {
		requireCommand(t, environment{setting[1]: setting[2]}, "work")
	}
}

// systemd accepts the unit, and rates its exposure below 2 of 10.
func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	unit := fileOf(t, unitFile)
	require.Contains(t, unit, "ExecStart=/usr/bin/iuworker work\n")
	file := verifyUnit(t, strings.ReplaceAll(unit, "/usr/bin/iuworker", self))
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `Overall exposure level for \S+: [01]\.\d OK`, string(out))
}

// verifyUnit requires that systemd accepts a unit, and returns its file.
func verifyUnit(t testing.TB, unit string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), filepath.Base(unitFile))
	require.NoError(t, os.WriteFile(file, []byte(unit), 0o600))
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		require.NotContains(t, line, filepath.Base(unitFile), "of the unit, not of the machine it is checked on")
	}
	return file
}

// document is what the tests below read of a manifest; deploy/check knows all of its fields.
type document struct {
	Kind string
	Spec struct {
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []container
			}
		}
		PodMetricsEndpoints []struct{ Path string } `yaml:"podMetricsEndpoints"`
	}
}

type container struct {
	Args  []string
	Env   []struct{ Name, Value string }
	Ports []struct {
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
}

type probe struct {
	HTTPGet struct{ Path string } `yaml:"httpGet"`
}

// The manifests start commands with settings that the program has, probe paths that it serves, and let it drain.
func TestManifestsNameWhatIsThere(t *testing.T) {
	t.Parallel()
	var commands, paths []string
	require.NoError(t, filepath.WalkDir(inRepository("deploy/kubernetes"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // a file of this repository
		require.NoError(t, err)
		for _, name := range programVariable.FindAllString(string(text), -1) {
			require.Contains(t, settingVariables(), name, path)
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var d document
			if err := decoder.Decode(&d); errors.Is(err, io.EOF) {
				return nil
			}
			require.NoError(t, err, path)
			for _, c := range d.Spec.Template.Spec.Containers {
				commands = append(commands, strings.Join(c.Args, " "))
				requireContainer(t, c)
				if d.Kind == "Deployment" {
					grace := time.Duration(d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
					require.GreaterOrEqual(t, grace, stopsWithin())
					paths = append(paths, c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
				}
			}
			for _, endpoint := range d.Spec.PodMetricsEndpoints {
				paths = append(paths, endpoint.Path)
			}
		}
	}))
	require.ElementsMatch(t, []string{"migrate up", "work"}, commands)
	require.ElementsMatch(t, []string{"/healthz", "/readyz", "/metrics"}, paths)
	pages, _, _ := working(t, iutest.New(t))
	for _, path := range paths {
		awaitStatus(t, strings.TrimSuffix(pages, "/")+path, http.StatusOK)
	}
}

func requireContainer(t testing.TB, c container) {
	t.Helper()
	env := environment{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	requireCommand(t, env, c.Args...)
	if addr := env["IUWORKER_HTTP_ADDR"]; addr != "" {
		require.Len(t, c.Ports, 1)
		require.Equal(t, addr, ":"+strconv.Itoa(c.Ports[0].ContainerPort))
	}
}

var (
	guidePath    = regexp.MustCompile(`deploy/[a-z./-]+`)
	guideProgram = regexp.MustCompile(`(?m)^iuworker (.*)$`)
	buildArg     = regexp.MustCompile(`--build-arg (\w+)=`)
)

// The commands of the deploy guide name files, kustomizations, objects and arguments that are there.
func TestCommandsOfTheDeployGuide(t *testing.T) {
	t.Parallel()
	blocks := blocksFor(t, "TestCommandsOfTheDeployGuide")
	require.Len(t, blocks, 4)
	var text string
	for _, b := range blocks {
		text += b.text
	}
	for _, path := range guidePath.FindAllString(text, -1) {
		if path == "deploy/compose/.env" { // the block writes it
			continue
		}
		info, err := os.Stat(inRepository(path))
		require.NoError(t, err)
		if info.IsDir() {
			require.FileExists(t, filepath.Join(inRepository(path), "kustomization.yaml"))
		}
	}
	for _, command := range guideProgram.FindAllStringSubmatch(text, -1) {
		requireCommand(t, nil, strings.Fields(command[1])...)
	}
	args := buildArg.FindAllStringSubmatch(text, -1)
	require.Len(t, args, 2)
	for _, arg := range args {
		require.Regexp(t, `(?m)^ARG .*\b`+arg[1]+`=`, fileOf(t, "Dockerfile"))
	}
	require.Contains(t, text, " "+strings.SplitN(unitSettings(fileOf(t, unitFile), "LoadCredential")[0], ":", 2)[1]+" ")
	require.Contains(t, text, "systemctl enable --now "+strings.TrimSuffix(filepath.Base(unitFile), ".service")+"\n")
	require.Contains(t, fileOf(t, "deploy/kubernetes/migrate/job.yaml"), "\n  name: iuworker-migrate\n")
}

// systemd accepts the unit with the drop-in, whose variable is a setting of the worker.
func TestDropInOfTheDeployGuide(t *testing.T) {
	t.Parallel()
	text := blocksFor(t, "TestDropInOfTheDeployGuide")[0].text
	for _, setting := range unitSettings(text, "Environment") {
		name, value, _ := strings.Cut(setting, "=")
		requireCommand(t, environment{name: value}, "work")
		require.Equal(t, "%d/"+strings.SplitN(unitSettings(text, "LoadCredential")[0], ":", 2)[0], value)
	}
	_, section, _ := strings.Cut(text, "[Service]\n")
	self, err := os.Executable()
	require.NoError(t, err)
	unit := strings.ReplaceAll(fileOf(t, unitFile), "/usr/bin/iuworker", self)
	verifyUnit(t, strings.Replace(unit, "[Service]\n", "[Service]\n"+section, 1))
}

// The program accepts what the example's Secrets hold, and what the Compose file has for credentials.
func TestSecretsOfTheExampleAreValid(t *testing.T) {
	t.Parallel()
	keys := map[string]string{}
	decoder := yaml.NewDecoder(strings.NewReader(fileOf(t, "deploy/kubernetes/example/setup/secrets.yaml")))
	for range 2 {
		var secret struct {
			StringData map[string]string `yaml:"stringData"`
		}
		require.NoError(t, decoder.Decode(&secret))
		maps.Copy(keys, secret.StringData)
	}
	for _, name := range []string{"database-url", "owner-url"} {
		_, err := pgx.ParseConfig(keys[name])
		require.NoError(t, err, name)
	}
	_, err := webui.ParseCredentials(keys["http-credentials"])
	require.NoError(t, err)
	_, err = webui.ParseTokens(keys["metrics-token"])
	require.NoError(t, err)
	_, err = webui.ParseCredentials(readCompose(t).Services["work"].Environment["IUWORKER_HTTP_CREDENTIALS"])
	require.NoError(t, err)
}
