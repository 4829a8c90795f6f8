package jetstream_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/iu-core/iuworker/internal/proxytest"
	"github.com/iu-core/iuworker/worker/publish/jetstream"
)

// login publishes one event with a login.
func (b *bundle) login(t *testing.T, servers []string, login jetstream.Login) error {
	t.Helper()
	r := b.publisher(t, servers, func(p *publisher) { p.sink.Login = login }).start(t)
	b.announce(t, 1)
	eventually(t, func() bool {
		select {
		case <-r.done:
			return true
		default:
			return r.counted(t, "iuworker_publish_events_total") > 0
		}
	}, "the publisher publishes, or ends")
	select {
	case <-r.done:
		return r.err
	default:
		return r.stop()
	}
}

func write(t testing.TB, name string, text []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func password(text string) func() (string, error) { return func() (string, error) { return text, nil } }

func TestUserAndPassword(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t, `authorization { user: ann, password: secret }`)
	require.ErrorContains(t, b.login(t, broker.servers(), jetstream.Login{}), "NATS refuses the login")
	require.ErrorContains(t, b.login(t, broker.servers(), jetstream.Login{User: "ann", Password: password("wrong")}), "NATS refuses the login")
	require.NoError(t, b.login(t, broker.servers(), jetstream.Login{User: "ann", Password: password("secret")}))
}

// Grants that are too narrow are an error with the subject that is missing.
func TestMissingGrants(t *testing.T) {
	t.Parallel()
	for denied, says := range map[string]string{
		`"iu.>"`:                      "Permissions Violation for Publish to \"iu.",
		`"$JS.API.STREAM.CREATE.>"`:   "Permissions Violation for Publish to \"$JS.API.STREAM.CREATE.",
		`"$JS.API.STREAM.INFO.>"`:     "Permissions Violation for Publish to \"$JS.API.STREAM.INFO.",
		`"$JS.API.STREAM.NAMES", "x"`: "",
	} {
		t.Run(denied, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			broker := newBroker(t, `authorization { users: [{ user: ann, password: secret, permissions: { publish: { deny: [`+denied+`] } } }] }`)
			err := b.login(t, broker.servers(), jetstream.Login{User: "ann", Password: password("secret")})
			if says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, err, "docs/publish.md")
		})
	}
}

func TestNKey(t *testing.T) {
	t.Parallel()
	pair, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	seed, err := pair.Seed()
	require.NoError(t, err)
	b, broker := setup(t), newBroker(t, fmt.Sprintf(`authorization { users: [{ nkey: %s }] }`, public))
	require.NoError(t, b.login(t, broker.servers(), jetstream.Login{CredsFile: write(t, "seed", seed)}))
	require.ErrorContains(t, b.login(t, broker.servers(), jetstream.Login{CredsFile: write(t, "nonsense", []byte("x"))}), "neither a JWT")
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	operator, err := nkeys.CreateOperator()
	require.NoError(t, err)
	account, err := nkeys.CreateAccount()
	require.NoError(t, err)
	system, err := nkeys.CreateAccount()
	require.NoError(t, err)
	user, err := nkeys.CreateUser()
	require.NoError(t, err)
	public := func(pair nkeys.KeyPair) string {
		key, err := pair.PublicKey()
		require.NoError(t, err)
		return key
	}
	accountJWT := func(pair nkeys.KeyPair, streams int64) string {
		claims := jwt.NewAccountClaims(public(pair))
		if streams != 0 {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
		}
		token, err := claims.Encode(operator)
		require.NoError(t, err)
		return token
	}
	claims := jwt.NewOperatorClaims(public(operator))
	claims.SystemAccount = public(system)
	operatorJWT, err := claims.Encode(operator)
	require.NoError(t, err)
	userJWT, err := jwt.NewUserClaims(public(user)).Encode(account)
	require.NoError(t, err)
	seed, err := user.Seed()
	require.NoError(t, err)
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	require.NoError(t, err)

	b, broker := setup(t), newBroker(t, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }",
		operatorJWT, public(system), public(account), accountJWT(account, -1), public(system), accountJWT(system, 0)))
	require.NoError(t, b.login(t, broker.servers(), jetstream.Login{CredsFile: write(t, "user.creds", creds)}))
	require.ErrorContains(t, b.login(t, broker.servers(), jetstream.Login{CredsFile: "/nowhere/creds"}), "read the credentials")
}

// certificates makes an authority, and certificates that it signed.
func certificates(t testing.TB) (authority string, sign func(name string) (cert, key string)) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	caBytes, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	serial := int64(1)
	return file("ca.pem", "CERTIFICATE", caBytes), func(name string) (cert, key string) {
		serial++
		pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		bytes, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		}, ca, pair.Public(), caKey)
		require.NoError(t, err)
		der, err := x509.MarshalECPrivateKey(pair)
		require.NoError(t, err)
		return file(name+".pem", "CERTIFICATE", bytes), file(name+".key", "EC PRIVATE KEY", der)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	authority, sign := certificates(t)
	cert, key := sign("server")
	b, broker := setup(t), newBroker(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, authority))
	servers := []string{strings.Replace(broker.url, "nats://", "tls://", 1)}
	client, clientKey := sign("client")
	require.ErrorContains(t, b.login(t, servers, jetstream.Login{}), "is not trusted")
	require.ErrorContains(t, b.login(t, servers, jetstream.Login{CAFile: authority, CertFile: client, KeyFile: key}), "read the client's certificate")
	require.ErrorContains(t, b.login(t, servers, jetstream.Login{CAFile: authority}), "--tls-cert-file")
	require.NoError(t, b.login(t, servers, jetstream.Login{CAFile: authority, CertFile: client, KeyFile: clientKey}))

	plain := newBroker(t)
	require.ErrorContains(t, b.login(t, []string{strings.Replace(plain.url, "nats://", "tls://", 1)}, jetstream.Login{}), "no TLS connection")
}

// Of several servers, one that can be reached is enough.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	b, broker := setup(t), newBroker(t)
	require.NoError(t, b.login(t, []string{"nats://" + proxytest.FreeAddress(t), broker.url}, jetstream.Login{}))
}
