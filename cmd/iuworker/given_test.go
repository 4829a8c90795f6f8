package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestGivenSettingsTellWhereTheyCameFromAndNoSecret(t *testing.T) {
	t.Parallel()
	const url = "postgres://ann:hunter22@db-1:5433/shop?application_name=x"
	pool, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	direct, err := pgx.ParseConfig("postgres://bob:hunter33@db-2/shop")
	require.NoError(t, err)

	f := defaultWorkFlags()
	var databases databaseFlags
	root := &cobra.Command{Use: "iuworker"}
	databases.register(root.PersistentFlags())
	cmd := &cobra.Command{Use: "work", RunE: func(cmd *cobra.Command, _ []string) error {
		return applyEnvironment(cmd, func(name string) string {
			return map[string]string{"IUWORKER_LANES": "8", "IUWORKER_DIRECT_DATABASE_URL": "postgres://bob:hunter33@db-2/shop"}[name]
		})
	}}
	takesSettings(cmd)
	f.register(cmd, ofWork)
	root.AddCommand(cmd)
	root.SetArgs([]string{"work", "--database-url", url, "--otlp-endpoint", "https://me:hunter44@otlp:4318/v1?token=hunter55", "--concurrency", "9"})
	require.NoError(t, root.Execute())

	got := map[string][2]string{}
	for _, s := range givenSettings(cmd, addresses{pool: pool, direct: direct}) {
		got[s.Name] = [2]string{s.Value, s.From}
		require.NotContains(t, s.Value+s.Default, "hunter")
	}
	require.Equal(t, map[string][2]string{
		"concurrency":         {"9", "--concurrency"},
		"database-url":        {"host=db-1 port=5433 user=ann dbname=shop", "--database-url"},
		"direct-database-url": {"host=db-2 port=5432 user=bob dbname=shop", "$IUWORKER_DIRECT_DATABASE_URL"},
		"lanes":               {"8", "$IUWORKER_LANES"},
		"otlp-endpoint":       {"https://otlp:4318/v1", "--otlp-endpoint"},
	}, got)
}
