package tlspin_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/internal/tlspin"
)

func TestPinAcceptsThatCertificateAlone(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	key, finger := tlspin.Of(s.Certificate()), tlspin.Fingerprint(s.Certificate().Raw)
	for _, c := range []struct {
		name, pin string
		ok        bool
	}{
		{"its public key", key, true},
		{"its fingerprint", "sha256:" + finger, true},
		{"its fingerprint as openssl prints it", "SHA256:" + strings.ToUpper(finger[:2]) + ":" + finger[2:], true},
		{"another key", "sha256//" + strings.Repeat("A", 43) + "=", false},
		{"another certificate", strings.Repeat("0", 64), false},
		{"the fingerprint where the key should be", "sha256//" + "q1" + key[10:], false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := tlspin.Parse(c.pin)
			if err != nil {
				t.Fatal(err)
			}
			tr := &http.Transport{TLSClientConfig: p.Config()}
			defer tr.CloseIdleConnections()
			res, err := (&http.Client{Transport: tr}).Get(s.URL)
			if err == nil {
				res.Body.Close()
			}
			if c.ok != (err == nil) || err != nil && !errors.Is(err, tlspin.ErrOther) {
				t.Errorf("got %v, want accepted: %v", err, c.ok)
			}
			if err != nil && !strings.Contains(err.Error(), key) {
				t.Errorf("got %v, want the pin that was shown", err)
			}
		})
	}
	if err := (tlspin.Pin{}).Config().VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{s.Certificate()}}); err == nil {
		t.Error("the zero pin accepts a certificate")
	}
	for _, bad := range []string{"", "sha256//", "sha256//****", "sha256:12", "hello", key + "AAAA"} {
		if _, err := tlspin.Parse(bad); err == nil {
			t.Errorf("%q is taken for a pin", bad)
		}
	}
}
