package server

import (
	"net/netip"
	"testing"
)

func TestInside(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"192.168.1.10/24": true, "10.0.0.1/8": true, "172.16.4.1/16": true, "100.64.0.1/10": true, "192.0.2.1/24": true,
		"203.0.113.7/24": true, "8.8.4.4/24": false, "172.32.0.1/16": false, "192.0.3.1/24": false} {
		if got := inside(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s leads to a network of one's own: got %v, want %v", text, got, want)
		}
	}
}
