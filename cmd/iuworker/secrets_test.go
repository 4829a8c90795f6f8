package main

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iu-core/iuworker/cmd/iuworker/internal/address"
)

const secret = "hunter2-Zq9xW"

func TestNoPasswordInAnyError(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://ann:" + secret + "@127.0.0.1:1/x",
		"postgres://ann:" + secret + "@127.0.0.1:port/x",
		"postgres://ann:" + secret + "@127.0.0.1:1/x?sslmode=perhaps",
		"postgres://ann:" + secret + "@127.0.0.1:1/x?pool_max_conns=many",
		"postgres://ann:" + secret + "@127.0.0.1:1/x?connect_timeout=soon",
		"postgres://ann:%zz" + secret + "@127.0.0.1:1/x",
		"postgres://ann:a/b" + secret + "@127.0.0.1:1/x",
		"postgres://ann:a#b" + secret + "@127.0.0.1:1/x",
		"postgres://ann:a@b" + secret + "@127.0.0.1:1/x",
		"postgres://ann:a b" + secret + "@127.0.0.1:1/x",
		"postgres://ann:[" + secret + "@127.0.0.1:1/x",
		"postgres://ann:12?b" + secret + "@127.0.0.1:1/x",
		"postgres://ann:12/b" + secret + "@127.0.0.1:1/x",
		"postgres:/ann:" + secret + "@127.0.0.1:1/x",
		"postgress://ann:" + secret + "@127.0.0.1:1/x",
		"mysql://ann:" + secret + "@127.0.0.1:1/x",
		"host=127.0.0.1 port=1 user=ann password=" + secret,
		"host=127.0.0.1 port=1 user=ann password='a " + secret + "'",
		"host=127.0.0.1 port=1 user=ann password='" + secret,
		"host=127.0.0.1 port=many user=ann password=" + secret,
		"password=" + secret + " nonsense",
		"host=127.0.0.1 port=1 sslmode=perhaps password = " + secret,
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			for _, r := range []result{
				run(t, environment{"DATABASE_URL": address}, "status"),
				run(t, environment{"IUWORKER_DATABASE_URL": address}, "migrate", "up"),
				interrupted(t, environment{"IUWORKER_DATABASE_URL": address}, "work", "--http-addr", "127.0.0.1:0", "--log-level", "debug"),
				run(t, environment{"DATABASE_URL": nowhere, "IUWORKER_DIRECT_DATABASE_URL": address}, "subscribe"),
				run(t, nil, "demo", "--database-url", address),
				run(t, nil, "status", address),
				run(t, nil, "gate", "open", address),
				run(t, nil, "work", "--pool-size", address),
				run(t, environment{"IUWORKER_POOL_SIZE": address}, "work"),
			} {
				if r.code == exitDone {
					require.Contains(t, r.errOut, "retrying until", "it was interrupted")
				}
				require.NotContains(t, r.errOut+r.out, secret)
				require.NotContains(t, r.errOut+r.out, secret[:9], "nor half of it")
			}
		})
	}
}

func TestNoPasswordInErrorsOfAnyAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		junk := rapid.StringMatching(`[ -~]{0,6}`)
		password := junk.Draw(t, "before") + secret + junk.Draw(t, "after")
		if rapid.Bool().Draw(t, "escaped") {
			password = url.QueryEscape(password)
		}
		address := rapid.SampledFrom([]string{"postgres://", "postgresql://", "postgres:", ""}).Draw(t, "scheme") +
			"ann:" + password + "@127.0.0.1:1" + rapid.SampledFrom([]string{"", "/x", ":2/x", "/x?sslmode=disable", "/x?port=z"}).Draw(t, "rest")
		if rapid.Bool().Draw(t, "keywords") {
			address = "host=127.0.0.1 port=1 password=" + password
		}
		r := runWith(t.Context(), environment{"DATABASE_URL": address}, "gate", "status")
		if r.code == exitDone || strings.Contains(r.errOut, secret) {
			t.Fatalf("exit %d for %q: %s", r.code, address, r.errOut)
		}
	})
}

func FuzzRedact(f *testing.F) {
	f.Add("postgres://ann:", "@h/x")
	f.Add("password=", " user=x")
	f.Add("cannot parse `host=h password = '", "' x`")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, text := range []string{
			"postgres://ann:" + secret + "@" + after,
			before + "://ann:" + secret + "@h" + after,
			before + "password=" + secret + after,
		} {
			if strings.Contains(redact(text), secret) && !strings.Contains(before+after, secret) {
				t.Fatalf("redact(%q) = %q", text, redact(text))
			}
		}
	})
}

// interrupted runs a program, and interrupts it if it logs that it is waiting for its server.
func interrupted(t testing.TB, env environment, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, errOut, ended := newBuffer(), newBuffer(), make(chan int, 1)
	go func() { ended <- Run(ctx, args, func(name string) string { return env[name] }, out, errOut) }()
	waits := time.NewTicker(10 * time.Millisecond)
	defer waits.Stop()
	for {
		select {
		case code := <-ended:
			return result{code, out.String(), errOut.String()}
		case <-waits.C:
			if strings.Contains(errOut.String(), "retrying until") {
				cancel()
			}
		}
	}
}

// redact must not change an error that quotes no address, so that its cause and way out stay readable.
func TestErrorsOfAddressesPassTheRedactorWhole(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"postgres//ann:" + secret + "@h/x", "postgres:/ann:" + secret + "@h/x", "POSTGRES://ann:" + secret + "@h/x",
		"jdbc:postgresql://h/x?password=" + secret, "ann:" + secret + "@h/x", "psql postgres://ann:" + secret + "@h/x",
	} {
		_, err := address.Source{Name: "--database-url", Text: text, Getenv: func(string) string { return "" }}.Config()
		require.Error(t, err, text)
		require.Equal(t, err.Error(), redact(err.Error()), text)
	}
}
