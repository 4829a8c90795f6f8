package check

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/require"
)

// BuildKit parses the Dockerfile, its linter has nothing to say, and the image is the one binary, by an unprivileged user.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Dockerfile")
	require.NoError(t, err)
	parsed, err := parser.Parse(bytes.NewReader(text))
	require.NoError(t, err)
	require.Empty(t, parsed.Warnings)
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, detail string, _ []parser.Range) {
		t.Errorf("%s: %s: %s", rule, description, detail)
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	require.NoError(t, err)
	require.Len(t, stages, 2)
	final := stages[1]
	require.Equal(t, "scratch", final.BaseName)
	kept := map[string]instructions.Command{}
	var copied []string
	for _, command := range final.Commands {
		kept[strings.ToLower(command.Name())] = command
		if from, ok := command.(*instructions.CopyCommand); ok {
			require.Equal(t, stages[0].Name, from.From)
			copied = append(copied, from.DestPath)
		}
	}
	require.Equal(t, []string{"/etc/ssl/certs/ca-certificates.crt", "/iuworker"}, copied)
	require.NotContains(t, kept, "run", "scratch has nothing that runs")
	require.Equal(t, "65532:65532", kept["user"].(*instructions.UserCommand).User)
	require.Equal(t, []string{"CMD", "/iuworker", "healthcheck"}, kept["healthcheck"].(*instructions.HealthCheckCommand).Health.Test)
	require.Equal(t, []string{"/iuworker"}, kept["entrypoint"].(*instructions.EntrypointCommand).CmdLine)
	require.Equal(t, []string{"work"}, kept["cmd"].(*instructions.CmdCommand).CmdLine)
}
