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

	"github.com/staged-hive/hatchery/inventory"
)

// certLife is how long a certificate of our own is good; it is made anew certRenew before its end.
const (
	certLife  = 5 * 365 * 24 * time.Hour
	certRenew = 90 * 24 * time.Hour
)

// ownCertificate reads the certificate in dir, or makes one for the names and addresses of now.
//
// It is made anew when it nears its end, with the same key, and not when names or addresses of this box
// change: the CLI, USB sticks and people's notes pin its fingerprint, and a new one would lock them out
// because of a DHCP lease. Whoever pins does not look at names, and a browser asks about a self-signed
// certificate either way. The settings page says which addresses it does not name and how to have it made
// anew on purpose: remove cert.pem and restart; the log and the activity then tell both fingerprints.
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

// stillGood reports whether the certificate need not be made anew; see ownCertificate for what does not count.
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

// unnamed are the names and addresses that the certificate does not name.
func unnamed(c *x509.Certificate, names []string, addrs []netip.Addr) (out []string) {
	for _, a := range addrs {
		names = append(names[:len(names):len(names)], a.String())
	}
	for _, n := range names {
		if c.VerifyHostname(n) != nil {
			out = append(out, n)
		}
	}
	return out
}

// makesOwn reports whether the certificate is one that the appliance makes.
func (s *Server) makesOwn() bool { return s.cfg.TLS == "" || s.cfg.TLS == "auto" }

// lastFingerprint is what the appliance showed at its last start, from the file kept beside the certificate; "" when there was none.
func lastFingerprint(dir string) string {
	raw, err := os.ReadFile(filepath.Join(dir, "fingerprint"))
	if err != nil {
		return ""
	}
	return inventory.Clean(strings.TrimSpace(string(raw)), sha256.Size*2)
}

// tellCertificate logs and notes a certificate that is not the one of before, and remembers it.
func (s *Server) tellCertificate() error {
	dir := filepath.Join(s.cfg.Dir, "tls")
	old, now := lastFingerprint(dir), s.Fingerprint()
	if !s.makesOwn() || old == now {
		return nil
	}
	if old != "" {
		s.log.Warn("the certificate was made anew: pin the new fingerprint (hatchery token) wherever the old one was", "was", old, "now", now)
		if err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
			return tx.Note(inventory.Entry{Time: s.cfg.Now(), Kind: "admin", By: "appliance", Level: "warn",
				Text: "The certificate was made anew with the same key. Its fingerprint was " + old + " and is " + now + ": pin it again where it was pinned."})
		}); err != nil {
			return err
		}
	}
	if err := renameio.WriteFile(filepath.Join(dir, "fingerprint"), []byte(now+"\n"), 0o644); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return nil
}

// renewCertificate makes the certificate anew when it nears its end; new connections get it at once.
func (s *Server) renewCertificate() error {
	if !s.makesOwn() {
		return nil
	}
	c, err := s.certificate()
	if err != nil {
		return err
	}
	s.inUse.Store(c)
	return s.tellCertificate()
}
