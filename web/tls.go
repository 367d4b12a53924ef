package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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

	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/internal/tlspin"
	"github.com/staged-hive/hatchery/inventory"
)

// certLife is how long a certificate of our own is good; it is made anew certRenew before its end.
const (
	certLife  = 5 * 365 * 24 * time.Hour
	certRenew = 90 * 24 * time.Hour
)

// ownCertificate reads the certificate in dir, or makes one for the names and addresses of now.
//
// It is made anew, with the same key, when it nears its end and when this box got a name or an IPv4 address
// that it does not name. Pins hold: they are of the key (see tlspin). A new IPv6 address is no reason, since
// temporary ones (RFC 8981) come every day; it is named with the next renewal.
func ownCertificate(dir string, names []string, addrs []netip.Addr, now time.Time) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && stillGood(c.Leaf, names, addrs, now) {
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
	if err := durable.WriteFile(certFile, out.Bytes(), 0o644); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	return tls.LoadX509KeyPair(certFile, keyFile)
}

// stillGood reports whether the certificate need not be made anew.
func stillGood(c *x509.Certificate, names []string, addrs []netip.Addr, now time.Time) bool {
	if c == nil || !now.Add(certRenew).Before(c.NotAfter) || now.Before(c.NotBefore.Add(-24*time.Hour)) {
		return false
	}
	for _, n := range names {
		if c.VerifyHostname(n) != nil {
			return false
		}
	}
	return !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Is4() && c.VerifyHostname(a.String()) != nil })
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
	if err := durable.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
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

// pinFile is beside the certificate and holds its pin and its fingerprint, a line each, as they were shown
// last: `hatchery token` reads it, also for a certificate that was given.
const pinFile = "pin"

// shown is what people and programs know the certificate by.
type shown struct{ pin, fingerprint string }

func shownBy(c *tls.Certificate) shown {
	if c == nil || c.Leaf == nil {
		return shown{}
	}
	return shown{tlspin.Of(c.Leaf), tlspin.Fingerprint(c.Leaf.Raw)}
}

// lastShown reads the file of before; the zero value when there is none.
func lastShown(dir string) shown {
	raw, err := os.ReadFile(filepath.Join(dir, pinFile))
	if err != nil {
		return shown{}
	}
	pin, fingerprint, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
	return shown{inventory.Clean(pin, 100), inventory.Clean(fingerprint, 100)}
}

// tellCertificate logs and notes a certificate that is not the one of before, and remembers it.
func (s *Server) tellCertificate() error {
	dir := filepath.Join(s.cfg.Dir, "tls")
	old, now := lastShown(dir), shownBy(s.inUse.Load())
	if old == now {
		return nil
	}
	if now == (shown{}) { // plain HTTP: nothing to pin
		return os.Remove(filepath.Join(dir, pinFile))
	}
	if old != (shown{}) {
		text, level := "The certificate was renewed with the same key: pins hold. Its fingerprint was "+old.fingerprint+" and is "+now.fingerprint+".", ""
		if old.pin != now.pin {
			level = "warn"
			text = "The certificate has another key now: command lines and USB sticks that pinned " + old.pin + " refuse this appliance. " +
				"Make their token files (hatchery token) and USB images anew. The new pin is " + now.pin + "."
		}
		s.log.Warn("the certificate is another one", "same_key", old.pin == now.pin, "was", old.fingerprint, "now", now.fingerprint)
		if err := s.cfg.Store.Update(func(tx *inventory.Tx) error {
			return tx.Note(inventory.Entry{Time: s.cfg.Now(), Kind: "admin." + topicAccess, By: "appliance", Level: level, Text: text})
		}); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(dir, pinFile), []byte(now.pin+"\n"+now.fingerprint+"\n"), 0o644); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return nil
}

// renewCertificate makes the certificate anew where it must be, or reads the given files again when they
// were replaced; new connections get it at once. While it cannot, the one in use stays.
func (s *Server) renewCertificate() error {
	if s.inUse.Load() == nil {
		return nil
	}
	c, err := s.certificate()
	if err != nil || shownBy(c) == shownBy(s.inUse.Load()) {
		return err
	}
	s.inUse.Store(c)
	return s.tellCertificate()
}

// certCheck is how often the names, addresses and end of the certificate, or its files, are looked at.
const certCheck = time.Minute

// watchCertificate renews the certificate until ctx ends.
func (s *Server) watchCertificate(ctx context.Context) {
	t := time.NewTicker(certCheck)
	defer t.Stop()
	for last := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := s.renewCertificate()
		if err == nil {
			last = ""
		} else if err.Error() != last {
			last = err.Error()
			s.log.Error("the certificate could not be renewed; the one in use stays", "err", err)
		}
	}
}
