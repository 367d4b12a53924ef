package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"
)

// givenPair is a certificate and key of somebody else's, as the API takes them.
func givenPair(t testing.TB) map[string]string { return pairUntil(t, time.Now()) }

func pairUntil(t testing.TB, signed time.Time) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := selfSign(key, []string{"hatchery.example"}, nil, signed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))}
}

func TestAnotherCertificateIsUsedAtOnceAndTakenBack(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	own := b.Pin()
	good, other := givenPair(t), givenPair(t)
	b.signIn()
	for _, c := range []struct {
		name      string
		cert, key string
		says      string
	}{
		{"no PEM", "x", "y", "cannot be used"},
		{"another's key", good["certificate"], other["key"], "cannot be used"},
		{"one that is over", pairUntil(t, time.Now().Add(-2*certLife))["certificate"], "", "cannot be used"},
	} {
		a := b.send("POST", "/settings/certificate", form("certificate", c.cert, "key", c.key), nil)
		if a.code != 422 || !strings.Contains(a.body, c.says) || b.Pin() != own {
			t.Errorf("%s: got %d", c.name, a.code)
		}
		if c.key != "" && strings.Contains(a.body, strings.TrimSpace(strings.Split(c.key, "\n")[0])) && strings.Contains(c.key, "PRIVATE") {
			t.Errorf("%s: the page shows the private key", c.name)
		}
	}
	over := pairUntil(t, time.Now().Add(-2*certLife))
	if a := b.send("PUT", "/api/v1/certificate", over, b.bearer); a.code != 422 || !strings.Contains(a.body, "not now") {
		t.Errorf("one that is over: got %d %s", a.code, a.body)
	}
	b.api(http.MethodPut, "/certificate", good, 204, nil)
	if b.Pin() == own || b.inUse.Load().Leaf.DNSNames[0] != "hatchery.example" {
		t.Error("the new certificate is not in use")
	}
	if p := b.page("/settings"); !strings.Contains(p, "put in by a person") || !strings.Contains(p, "hatchery.example") {
		t.Error("the page does not tell of it")
	}
	again := b.again() // it outlives a restart
	if again.Pin() == own {
		t.Error("the restart brought the old certificate back")
	}
	again.signIn()
	if a := again.send("POST", "/settings/certificate", form("own", "1"), nil); a.code != 303 || again.Pin() != own {
		t.Errorf("back to its own: got %d", a.code)
	}
	again.api(http.MethodDelete, "/certificate", nil, 404, nil)
}

func TestAGivenCertificateThatEndsSoonIsToldOf(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.api(http.MethodPut, "/certificate", pairUntil(t, time.Now().Add(10*24*time.Hour-certLife)), 204, nil)
	if w := b.warnings(); len(w) != 1 || !strings.Contains(w[0].Text, "certificate ends on") {
		t.Errorf("got %+v", w)
	}
}
