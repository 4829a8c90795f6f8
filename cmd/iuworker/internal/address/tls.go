package address

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var tlsVersions = map[string]uint16{
	"tlsv1": tls.VersionTLS10, "tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13,
}

// security holds what the parameters about TLS and their files say.
type security struct {
	mode, negotiation string
	config            *tls.Config // without a server name
	verify            bool        // the server's certificate, against roots
	verifyName        bool
	sendName          bool
	roots             *x509.CertPool // nil: the system's
	revoked           []*x509.RevocationList
}

// security checks the parameters about TLS and reads their files.
func (s settings) security() (*security, error) {
	t := &security{
		mode: s["sslmode"], negotiation: cmp.Or(s["sslnegotiation"], "postgres"), sendName: s["sslsni"] != "0",
		config: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if err := t.readRoots(s); err != nil {
		return nil, err
	}
	weak := t.mode == "disable" || t.mode == "allow" || t.mode == "prefer"
	if t.negotiation == "direct" {
		if weak {
			return nil, wrong("cannot be used: sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
		}
		t.config.NextProtos = []string{"postgresql"}
	}
	if t.mode == "disable" {
		return t, nil
	}
	if highest := tlsVersions[strings.ToLower(s["ssl_max_protocol_version"])]; highest > 0 {
		t.config.MaxVersion, t.config.MinVersion = highest, min(highest, tls.VersionTLS12)
	}
	if lowest := tlsVersions[strings.ToLower(s["ssl_min_protocol_version"])]; lowest > 0 {
		t.config.MinVersion = lowest
	}
	if t.config.MaxVersion > 0 && t.config.MaxVersion < t.config.MinVersion {
		return nil, wrong("cannot be used: ssl_min_protocol_version is above ssl_max_protocol_version")
	}
	if err := t.readRevoked(s); err != nil {
		return nil, err
	}
	err := t.readCertificate(s)
	return t, err
}

func (t *security) readRoots(s settings) error {
	file := s["sslrootcert"]
	if file == "system" {
		if t.mode != "" && t.mode != "verify-full" {
			return wrong("cannot be used: sslrootcert=system needs sslmode=verify-full")
		}
		t.mode, t.verify, t.verifyName = "verify-full", true, true
		return nil
	}
	t.mode = cmp.Or(t.mode, "prefer")
	t.verifyName = t.mode == "verify-full"
	t.verify = t.verifyName || t.mode == "verify-ca" || (t.mode == "require" && file != "")
	switch {
	case t.mode == "disable":
		return nil
	case file == "" && t.mode == "verify-ca":
		return wrong("cannot be used: sslmode=verify-ca needs sslrootcert, the file of the certificate authority")
	case file == "":
		return nil
	}
	text, err := readFile("sslrootcert", file)
	if err != nil {
		return err
	}
	t.roots = x509.NewCertPool()
	if !t.roots.AppendCertsFromPEM(text) {
		return wrong("cannot be used: the sslrootcert %s holds no certificate", file)
	}
	return nil
}

func (t *security) readRevoked(s settings) error {
	var files []string
	if file := s["sslcrl"]; file != "" {
		files = append(files, file)
	}
	if dir := s["sslcrldir"]; dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fileError("sslcrldir", err)
		}
		for _, entry := range entries {
			if info, err := os.Stat(filepath.Join(dir, entry.Name())); err == nil && info.Mode().IsRegular() {
				files = append(files, filepath.Join(dir, entry.Name()))
			}
		}
	}
	for _, file := range files {
		text, err := readFile("sslcrl", file)
		if err != nil {
			return err
		}
		found := len(t.revoked)
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			list, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return wrong("cannot be used: the sslcrl %s: %v", file, err)
			}
			t.revoked = append(t.revoked, list)
		}
		if found == len(t.revoked) {
			return wrong("cannot be used: the sslcrl %s holds no revocation list", file)
		}
	}
	return nil
}

// readCertificate reads the client's certificate.
func (t *security) readCertificate(s settings) error {
	cert, key := s["sslcert"], s["sslkey"]
	if s["sslcertmode"] == "disable" || (cert == "" && key == "") {
		return nil
	}
	if cert == "" || key == "" {
		return wrong("cannot be used: sslcert and sslkey must be given together")
	}
	chain, err := readFile("sslcert", cert)
	if err != nil {
		return err
	}
	text, err := readFile("sslkey", key)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return wrong("cannot be used: the sslkey %s holds no key", key)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return wrong("cannot be used: the sslkey %s is encrypted as PKCS #8: convert it by openssl rsa -traditional -aes256", key)
	}
	//nolint:staticcheck // Go and libpq have no other encryption of keys in common
	if x509.IsEncryptedPEMBlock(block) {
		plain, err := x509.DecryptPEMBlock(block, []byte(s["sslpassword"]))
		if err != nil {
			return wrong("cannot be used: sslpassword does not fit the sslkey %s", key)
		}
		block = &pem.Block{Type: block.Type, Bytes: plain}
	}
	pair, err := tls.X509KeyPair(chain, pem.EncodeToMemory(block))
	if err != nil {
		return wrong("cannot be used: the sslcert %s and the sslkey %s: %v", cert, key, err)
	}
	t.config.Certificates = []tls.Certificate{pair}
	return nil
}

// attempts returns the ways to secure a connection to a host in the order in which to try them. nil is plain text.
func (t *security) attempts(host string) []*tls.Config {
	config := t.config.Clone()
	if t.sendName && net.ParseIP(host) == nil {
		config.ServerName = host
	}
	config.InsecureSkipVerify = true // check verifies instead: it needs no name and knows revocation lists
	if t.verify {
		config.VerifyConnection = func(state tls.ConnectionState) error { return t.check(host, state) }
	}
	switch t.mode {
	case "disable":
		return []*tls.Config{nil}
	case "allow":
		return []*tls.Config{nil, config}
	case "prefer":
		return []*tls.Config{config, nil}
	default:
		return []*tls.Config{config}
	}
}

// check verifies a server's certificate.
func (t *security) check(host string, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	opts := x509.VerifyOptions{Roots: t.roots, Intermediates: x509.NewCertPool()}
	if t.verifyName {
		opts.DNSName = host
	}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	chains, err := state.PeerCertificates[0].Verify(opts)
	if err != nil {
		return err //nolint:wrapcheck // crypto/tls adds that it is about the certificate
	}
	for _, chain := range chains {
		if err = t.checkRevoked(chain); err == nil {
			return nil
		}
	}
	return err
}

// checkRevoked checks a chain as OpenSSL does for libpq: if there are revocation lists, each authority needs a valid one.
func (t *security) checkRevoked(chain []*x509.Certificate) error {
	if len(t.revoked) == 0 {
		return nil
	}
	for i, cert := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		listed := false
		for _, list := range t.revoked {
			if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil ||
				(!list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate)) {
				continue
			}
			listed = true
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return fmt.Errorf("the certificate of %s is revoked", cert.Subject)
				}
			}
		}
		if !listed {
			return fmt.Errorf("there is no revocation list in force of %s", issuer.Subject)
		}
	}
	return nil
}
