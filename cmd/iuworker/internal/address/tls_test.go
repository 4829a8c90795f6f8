package address

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

var serials atomic.Int64

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.crt")}
	a.cert, a.key = issue(t, nil, name, "")
	writePEM(t, a.file, "CERTIFICATE", a.cert.Raw)
	return a
}

// issue creates a certificate for a host. Without an authority, it is self-signed and can sign others.
func issue(t *testing.T, by *authority, name, host string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: by == nil, SubjectKeyId: []byte(name),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if host != "" {
		template.DNSNames = []string{host}
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

func (a *authority) revoke(t *testing.T, file string, certs ...*x509.Certificate) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, cert := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	require.NoError(t, err)
	writePEM(t, file, "X509 CRL", der)
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// handshake connects to a server with the certificate, by the first attempt of the plan.
func handshake(t *testing.T, p *plan, cert *x509.Certificate, key *ecdsa.PrivateKey) (client *x509.Certificate, name string, err error) {
	t.Helper()
	ended := make(chan tls.ConnectionState, 1)
	where, _ := listening(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		server := tls.Server(conn, &tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
			Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		})
		_ = server.HandshakeContext(context.Background()) // the client reports whether it failed
		ended <- server.ConnectionState()
		_ = conn.Close()
	})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", where)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	err = tls.Client(conn, p.security.attempts(p.hosts[0].name)[0]).HandshakeContext(t.Context())
	_ = conn.Close() // the handshake reports whether it failed
	state := <-ended
	if len(state.PeerCertificates) > 0 {
		client = state.PeerCertificates[0]
	}
	return client, state.ServerName, err
}

func TestServersAreVerified(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	cert, key := issue(t, ours, "server", "db.example")
	dir := t.TempDir()
	none, revoked, foreign := filepath.Join(dir, "none.crl"), filepath.Join(dir, "revoked.crl"), filepath.Join(dir, "foreign.crl")
	ours.revoke(t, none)
	ours.revoke(t, revoked, cert)
	theirs.revoke(t, foreign)
	withDir := filepath.Join(dir, "lists")
	require.NoError(t, os.Mkdir(withDir, 0o700))
	ours.revoke(t, filepath.Join(withDir, "a.r0"), cert)
	for text, says := range map[string]string{
		"host=db.example sslmode=verify-full sslrootcert=" + ours.file:                                  "",
		"host=db.example sslmode=verify-full sslsni=0 sslrootcert=" + ours.file:                         "",
		"host=db.example sslmode=verify-full ssl_min_protocol_version=TLSv1.3 sslrootcert=" + ours.file: "",
		"host=other.example sslmode=verify-full sslrootcert=" + ours.file:                               "not other.example",
		"host=other.example sslmode=verify-full sslsni=0 sslrootcert=" + ours.file:                      "not other.example",
		"host=other.example sslmode=verify-ca sslrootcert=" + ours.file:                                 "",
		"host=other.example sslmode=require sslrootcert=" + ours.file:                                   "",
		"host=db.example sslmode=verify-full sslrootcert=" + theirs.file:                                "unknown authority",
		"host=db.example sslmode=verify-ca sslrootcert=" + theirs.file:                                  "unknown authority",
		"host=db.example sslmode=require sslrootcert=" + theirs.file:                                    "unknown authority",
		"host=db.example sslmode=verify-full":                                                           "unknown authority",
		"host=db.example sslrootcert=system":                                                            "unknown authority",
		"host=db.example sslmode=require":                                                               "",
		"host=db.example sslmode=prefer sslrootcert=" + theirs.file:                                     "",
		"host=db.example sslmode=verify-full sslrootcert=" + ours.file + " sslcrl=" + none:              "",
		"host=db.example sslmode=verify-full sslrootcert=" + ours.file + " sslcrl=" + revoked:           "is revoked",
		"host=db.example sslmode=verify-ca sslrootcert=" + ours.file + " sslcrl=" + revoked:             "is revoked",
		"host=db.example sslmode=verify-ca sslrootcert=" + ours.file + " sslcrl=" + foreign:             "no revocation list",
		"host=db.example sslmode=verify-full sslrootcert=" + ours.file + " sslcrldir=" + withDir:        "is revoked",
	} {
		p, err := source(text, nil).plan()
		require.NoError(t, err, text)
		_, _, err = handshake(t, p, cert, key)
		if says == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, says, text)
		}
	}
	p, err := source("host=db.example sslmode=require", nil).plan()
	require.NoError(t, err)
	_, name, err := handshake(t, p, cert, key)
	require.NoError(t, err)
	require.Equal(t, "db.example", name)
	p, err = source("host=db.example sslmode=require sslsni=0", nil).plan()
	require.NoError(t, err)
	_, name, err = handshake(t, p, cert, key)
	require.NoError(t, err)
	require.Empty(t, name)
}

func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t, "ours")
	cert, key := issue(t, ours, "server", "db.example")
	dir := t.TempDir()
	file, keyFile := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	from := source("host=db.example sslmode=verify-full sslrootcert="+ours.file+" sslcert="+file+" sslkey="+keyFile, nil)
	for _, client := range []string{"first", "second"} {
		c, k := issue(t, ours, client, "")
		writePEM(t, file, "CERTIFICATE", c.Raw)
		der, err := x509.MarshalPKCS8PrivateKey(k)
		require.NoError(t, err)
		writePEM(t, keyFile, "PRIVATE KEY", der)
		p, err := from.read()
		require.NoError(t, err)
		sent, _, err := handshake(t, p, cert, key)
		require.NoError(t, err)
		require.Equal(t, client, sent.Subject.CommonName)
	}
	another := newAuthority(t, "another") // the authority is also replaced
	cert, key = issue(t, another, "server", "db.example")
	p, err := from.read()
	require.NoError(t, err)
	_, _, err = handshake(t, p, cert, key)
	require.ErrorContains(t, err, "unknown authority")
	text, err := os.ReadFile(another.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ours.file, text, 0o600))
	p, err = from.read()
	require.NoError(t, err)
	_, _, err = handshake(t, p, cert, key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(keyFile, []byte("no key"), 0o600))
	_, err = from.read()
	require.ErrorContains(t, err, "the sslkey "+keyFile+" holds no key")
}
