package publish

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// TLSError returns what is wrong with a certificate, ours or the broker's, with the way out; nil if err is something else.
func TLSError(err error) error {
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, header := errors.AsType[tls.RecordHeaderError](err)
	operation, ok := errors.AsType[*net.OpError](err)
	alert := ok && operation.Op == "remote error" // crypto/tls names an alert of the other side like this
	switch {
	case authority || host || invalid || verification:
		return fmt.Errorf("the broker's certificate is not trusted: %w; check --tls-ca-file and the name in the address", err)
	case alert || header:
		return NoTLS(err)
	}
	return nil
}

// NoTLS is the error of a TLS connection that was refused.
func NoTLS(err error) error {
	return fmt.Errorf("no TLS connection to the broker: %w; check --tls-ca-file, --tls-cert-file and --tls-key-file", err)
}

// TLSConfig reads files: the authorities to trust ("": the system's) and the client's certificate ("": none).
func TLSConfig(caFile, certFile, keyFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile) //nolint:gosec // the user names it
		if err != nil {
			return nil, fmt.Errorf("read the authorities: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("the file %s holds no certificate", caFile)
		}
	}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client's certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
