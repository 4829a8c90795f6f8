package worker

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRiverTellsItsStoryAtDebug(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{
		slog.LevelInfo:  "level=WARN msg=warned g.client=c\n",
		slog.LevelDebug: "level=DEBUG msg=told g.client=c\nlevel=WARN msg=warned g.client=c\n",
	} {
		var out bytes.Buffer
		handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		logger := quieter(slog.New(handler)).WithGroup("g").With(slog.String("client", "c"))
		logger.Info("told")
		logger.Warn("warned")
		require.Equal(t, want, out.String())
	}
}
