package agentapi

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func testPersonal() Personal {
	return Personal{Version: 1, URLs: []string{"https://192.0.2.1:8443"}, Fingerprint: strings.Repeat("ab", 32), Token: "t", Expires: time.Unix(1800000000, 0).UTC(),
		Static: &Static{Address: netip.MustParsePrefix("192.0.2.50/24"), Gateway: netip.MustParseAddr("192.0.2.1")}}
}

func TestParsePersonal(t *testing.T) {
	t.Parallel()
	want := testPersonal()
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePersonal(append(raw, strings.Repeat("\n", 1000)...))
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); err != nil || d != "" {
		t.Errorf("%v\n-want +got:\n%s", err, d)
	}
	for _, blank := range []string{"", "\n\n\n", "\x00\x00", "{}\n"} {
		if _, err := ParsePersonal([]byte(blank)); !errors.Is(err, ErrBlank) {
			t.Errorf("%q: %v", blank, err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Personal)
		want   string
	}{
		{"another version", func(p *Personal) { p.Version = 2 }, "version"},
		{"no URL", func(p *Personal) { p.URLs = nil }, "URLs"},
		{"a URL without TLS", func(p *Personal) { p.URLs = []string{"http://192.0.2.1"} }, "https"},
		{"no token", func(p *Personal) { p.Token = "" }, "token"},
		{"a short fingerprint", func(p *Personal) { p.Fingerprint = "ab" }, "fingerprint"},
		{"a gateway elsewhere", func(p *Personal) { p.Static.Gateway = netip.MustParseAddr("198.51.100.1") }, "gateway"},
		{"the gateway's own address", func(p *Personal) { p.Static.Gateway = p.Static.Address.Addr() }, "gateway"},
		{"a broadcast address", func(p *Personal) { p.Static.Address = netip.MustParsePrefix("255.255.255.255/32") }, "static address"},
	} {
		p := testPersonal()
		c.change(&p)
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePersonal(raw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
