package check

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// Compose accepts its file with the variables of example.env, and no variable of either is unknown to the other.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	const file = "../compose/compose.yaml"
	variables, err := dotenv.Read("../compose/example.env")
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for name := range variables {
		require.Contains(t, string(text), "${"+name+":?")
	}
	details := func(environment map[string]string) types.ConfigDetails {
		return types.ConfigDetails{
			WorkingDir: filepath.Dir(file), ConfigFiles: []types.ConfigFile{{Filename: file}}, Environment: maps.Clone(environment),
		}
	}
	project, err := loader.LoadWithContext(t.Context(), details(variables))
	require.NoError(t, err)
	require.Equal(t, "iuworker", project.Name)
	require.ElementsMatch(t, []string{"postgres", "migrate", "work"}, project.ServiceNames())
	for missing := range variables {
		others := map[string]string{}
		for name, value := range variables {
			if name != missing {
				others[name] = value
			}
		}
		_, err := loader.LoadWithContext(t.Context(), details(others))
		require.ErrorContains(t, err, "example.env", missing)
	}

	work := project.Services["work"]
	require.Equal(t, work.Build.Context, project.Services["migrate"].Build.Context, "one release at a time")
	_, err = os.Stat(filepath.Join(work.Build.Context, "Dockerfile"))
	require.NoError(t, err)
	require.Equal(t, "8080", work.Ports[0].Published)
	require.Equal(t, "127.0.0.1", work.Ports[0].HostIP)
	require.True(t, strings.HasSuffix(*work.Environment["IUWORKER_HTTP_ADDR"], ":8080"))
	require.EqualValues(t, 8080, work.Ports[0].Target)
	for _, name := range []string{"work", "migrate"} {
		service := project.Services[name]
		require.True(t, service.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, service.CapDrop, name)
		require.Equal(t, []string{"no-new-privileges:true"}, service.SecurityOpt, name)
	}
}
