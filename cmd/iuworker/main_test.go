package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/iutest"
)

// patience limits every wait of these tests. It is long, for busy machines.
const patience = 90 * time.Second

// runsMain is the variable that makes the test binary run main, for tests that send signals to the program.
const runsMain = "TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runsMain) != "" {
		main()
	}
	iutest.Main(m)
}

// result is the exit code and the output of a run.
type result struct {
	code        int
	out, errOut string
}

// environment holds the environment variables of a run.
type environment map[string]string

// run runs the program as main does.
func run(t testing.TB, env environment, args ...string) result {
	t.Helper()
	return runWith(t.Context(), env, args...)
}

func runWith(ctx context.Context, env environment, args ...string) result {
	var out, errOut bytes.Buffer
	code := Run(ctx, args, func(name string) string { return env[name] }, &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// on returns the environment of a run on a test's database.
func on(db *iutest.DB) environment { return environment{"IUWORKER_DATABASE_URL": db.URL} }

// done fails the test unless the program succeeded and said nothing on stderr except that the machine was slow.
func (r result) done(t testing.TB) result {
	t.Helper()
	require.Equal(t, exitDone, r.code, "%s%s", r.errOut, r.out)
	require.Empty(t, unhurried(r.errOut))
	return r
}

// slowness matches the lines that a busy machine adds to the log of a program that works: a reply, a notification or a completion
// took too long.
var slowness = regexp.MustCompile(`(?m)^\{"time":"[^"]*","level":"WARN","msg":"[^"]*(` +
	` lost; trying again until it is back|: jobs whose completion was lost run again|: another transaction has locked jobs that ended[^"]*|` +
	`: the standby cannot be read; reading from the primary|: notifications do not come through this address [^"]*` +
	`)".*\n`)

// unhurried returns what a program printed on stderr without the lines that only a busy machine adds.
func unhurried(errOut string) string { return slowness.ReplaceAllString(errOut, "") }

// failed fails the test unless the program ended with that exit code and printed one sentence that contains says.
func (r result) failed(t testing.TB, code int, says string) result {
	t.Helper()
	require.Equal(t, code, r.code, "stdout: %s\nstderr: %s", r.out, r.errOut)
	require.Contains(t, r.errOut, says)
	r.oneSentence(t)
	return r
}

func (r result) oneSentence(t testing.TB) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(unhurried(r.errOut), "\n"), "\n")
	require.Len(t, lines, 1, r.errOut)
	require.True(t, strings.HasPrefix(lines[0], "iuworker: "), lines[0])
}

// requireCompletion waits until a shell that completes these words is offered want. A slow answer is no answer: the person goes on typing.
func requireCompletion(t testing.TB, env environment, want []string, words ...string) {
	t.Helper()
	iutest.Eventually(t, func() bool {
		return slices.Equal(want, strings.Fields(run(t, env, append([]string{"__complete"}, words...)...).out))
	}, patience, "want %v", want)
}

// decode reads a result that was printed as JSON.
func decode[T any](t testing.TB, r result) T {
	t.Helper()
	var value T
	decoder := json.NewDecoder(strings.NewReader(r.out))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&value), r.out)
	require.False(t, decoder.More(), "there is one document")
	return value
}

// buffer is an output that can be read while it is being written.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
	wake chan struct{} // closed at the next write
}

func newBuffer() *buffer { return &buffer{wake: make(chan struct{})} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.wake)
	b.wake = make(chan struct{})
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await waits until the output contains the text.
func (b *buffer) await(t testing.TB, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		b.mu.Lock()
		wake, found := b.wake, strings.Contains(b.text.String(), text)
		b.mu.Unlock()
		if found {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			require.FailNow(t, "waited in vain", "for %q in: %s", text, b.String())
		}
	}
}
