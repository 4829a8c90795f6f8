package subscribe_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/worker/subscribe"
)

func TestParseCursor(t *testing.T) {
	t.Parallel()
	good := map[string]subscribe.Cursor{
		"0":                            {},
		"42":                           {Position: 42},
		"0042":                         {Position: 42},
		"9223372036854775807":          {Position: math.MaxInt64},
		"0a1b2c3d-0":                   {Epoch: "0a1b2c3d"},
		"0a1b2c3d-9223372036854775807": {Epoch: "0a1b2c3d", Position: math.MaxInt64},
	}
	for text, want := range good {
		got, err := subscribe.ParseCursor(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", " ", "-1", "+1", "1.5", "x", "0a1b2c3d", "0a1b2c3d-", "0A1B2C3D-1", "0a1b2c3d--1", "0a1b2c3-1", "1 ", "1\n",
		"9223372036854775808", "0a1b2c3d-9223372036854775808", "99999999999999999999", "٤٢", "0a1b2c3d-1-1",
	} {
		_, err := subscribe.ParseCursor(text)
		require.ErrorIs(t, err, subscribe.ErrBadCursor, "%q", text)
	}
}

func TestCursorInJSON(t *testing.T) {
	t.Parallel()
	type stored struct {
		After subscribe.Cursor `json:"after"`
	}
	want := stored{subscribe.Cursor{Epoch: "0a1b2c3d", Position: 7}}
	text, err := json.Marshal(want)
	require.NoError(t, err)
	require.JSONEq(t, `{"after": "0a1b2c3d-7"}`, string(text))
	var got stored
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, want, got)
	require.ErrorIs(t, json.Unmarshal([]byte(`{"after": "seven"}`), &got), subscribe.ErrBadCursor)
}

func FuzzParseCursor(f *testing.F) {
	for _, seed := range []string{"0", "42", "0a1b2c3d-42", "-1", "0a1b2c3d-", "9223372036854775808", "٤٢"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := subscribe.ParseCursor(text)
		if err != nil {
			require.ErrorIs(t, err, subscribe.ErrBadCursor)
			require.Zero(t, c)
			return
		}
		require.GreaterOrEqual(t, c.Position, int64(0))
		again, err := subscribe.ParseCursor(c.String())
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
