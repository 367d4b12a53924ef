// Package tlspin names the appliance's certificate in a word, and lets a client accept that one alone.
//
// The word is of the public key, which outlives every renewal: a certificate that is made anew for other
// names or because it nears its end keeps the pin, another key breaks it. It is written as curl's
// --pinnedpubkey takes it. It does no I/O and looks at no names and dates: whoever pins needs neither.
package tlspin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// keyPrefix begins the pin of a public key, certPrefix that of one certificate.
const (
	keyPrefix  = "sha256//"
	certPrefix = "sha256:"
)

// ErrOther says that the server showed another certificate than the pinned one.
var ErrOther = errors.New("not the pinned certificate")

// Of is the pin of a certificate's public key: "sha256//" and the base64 form of the SHA-256 of its
// SubjectPublicKeyInfo (RFC 7469 §2.4).
func Of(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return keyPrefix + base64.StdEncoding.EncodeToString(sum[:])
}

// Fingerprint is the SHA-256 of a certificate in DER form, in lower-case hex, as browsers show it.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Pin is a checked pin; its zero value accepts nothing.
type Pin struct {
	sum [sha256.Size]byte
	key bool // of the public key, else of the whole certificate
	set bool
}

// Parse reads a pin: "sha256//BASE64" of the public key, or a certificate's fingerprint as "sha256:HEX"
// or HEX, colons allowed. The second form ends with the next renewal.
func Parse(s string) (p Pin, err error) {
	var raw []byte
	if b64, ok := strings.CutPrefix(s, keyPrefix); ok {
		p.key = true
		raw, err = base64.StdEncoding.DecodeString(b64)
	} else {
		raw, err = hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(s), certPrefix), ":", ""))
	}
	if err != nil || len(raw) != sha256.Size {
		return Pin{}, fmt.Errorf("pin %.100q: want sha256//BASE64 of the certificate's public key, or its fingerprint as sha256:HEX", s)
	}
	p.set = true
	copy(p.sum[:], raw)
	return p, nil
}

// Config accepts exactly the certificates with that pin, whatever their names and dates. Errors wrap [ErrOther].
func (p Pin) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // replaced by the pin below; VerifyConnection runs for resumed sessions too
		VerifyConnection:   func(s tls.ConnectionState) error { return p.check(s.PeerCertificates) },
	}
}

func (p Pin) check(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return fmt.Errorf("the server showed no certificate: %w", ErrOther)
	}
	sum := sha256.Sum256(chain[0].Raw)
	if p.key {
		sum = sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
	}
	if !p.set || subtle.ConstantTimeCompare(sum[:], p.sum[:]) != 1 {
		return fmt.Errorf("the server's certificate has the pin %s and the fingerprint %s: %w", Of(chain[0]), Fingerprint(chain[0].Raw), ErrOther)
	}
	return nil
}
