package web

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// certLife is how long a certificate of our own is good; it is made anew certRenew before its end.
const (
	certLife  = 5 * 365 * 24 * time.Hour
	certRenew = 90 * 24 * time.Hour
)

// ownCertificate reads the certificate in dir, or makes one for the names and addresses.
// The key is kept when the certificate must be renewed.
func ownCertificate(dir string, names []string, addrs []netip.Addr, now time.Time) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && stillGood(c.Leaf, now) {
		return c, nil
	}
	key, err := certificateKey(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := selfSign(key, names, addrs, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	if err := renameio.WriteFile(certFile, out.Bytes(), 0o644); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	return tls.LoadX509KeyPair(certFile, keyFile)
}

// stillGood reports whether the certificate need not be made anew. Addresses that came later do not
// count: its fingerprint is pinned by the CLI and by USB sticks, and nobody checks its names.
func stillGood(c *x509.Certificate, now time.Time) bool {
	return c != nil && now.Add(certRenew).Before(c.NotAfter) && !now.Before(c.NotBefore.Add(-24*time.Hour))
}

// certificateKey reads the private key, or makes one. A key that cannot be read is an error:
// replacing it would break every pin without a word.
func certificateKey(file string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("certificate key: %w", err)
	default:
		block, _ := pem.Decode(raw)
		if block == nil {
			return nil, fmt.Errorf("certificate key %s: not PEM; restore it from a backup, or remove it to get a new certificate", file)
		}
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := k.(*ecdsa.PrivateKey); ok && err == nil {
			return key, nil
		}
		return nil, fmt.Errorf("certificate key %s: not an ECDSA key; restore it from a backup, or remove it to get a new certificate", file)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("certificate key: %w", err)
	}
	if err := renameio.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("certificate key: %w", err)
	}
	return key, nil
}

func selfSign(key *ecdsa.PrivateKey, names []string, addrs []netip.Addr, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Hatchery appliance"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.Add(certLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names, BasicConstraintsValid: true,
	}
	for _, a := range addrs {
		t.IPAddresses = append(t.IPAddresses, a.AsSlice())
	}
	return x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
}

// fingerprint is the SHA-256 of the certificate in lower-case hex, "" without one.
func fingerprint(c *tls.Certificate) string {
	if c == nil || len(c.Certificate) == 0 {
		return ""
	}
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// ownNames are the names that reach this box: localhost, its host name (bare and .local), and extra.
func ownNames(extra []string) []string {
	names := append([]string{"localhost", "hatchery", "hatchery.local"}, extra...)
	if h, err := os.Hostname(); err == nil {
		short, _, _ := strings.Cut(h, ".")
		names = append(names, h, short, short+".local")
	}
	for i, n := range names {
		names[i] = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(n), "."))
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" || n == ".local" })
}

// ownAddrs are the addresses of this box that a person may type, loopback included, link-local not.
func ownAddrs() []netip.Addr {
	out := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, p.Addr().Unmap())
	}
	return out
}
