package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/inventory"
)

// bootWords is what the kernel command line says of this boot.
type bootWords struct {
	URL    string // of the appliance, without a trailing slash
	Nonce  string
	BootIF inventory.MAC // the interface the firmware booted from, zero = not said
	Stage0 string        // the image's version, "" = not said
}

// errNotBooted says that this system was not started by an appliance.
var errNotBooted = errors.New("the kernel command line has no hatchery.url and hatchery.nonce: this system was not netbooted by a Hatchery appliance")

// parseCmdline reads our words of a kernel command line; the last of a kind counts.
func parseCmdline(line string) (bootWords, error) {
	var b bootWords
	for _, w := range strings.Fields(line) {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "hatchery.url":
			b.URL = strings.TrimRight(v, "/")
		case "hatchery.nonce":
			b.Nonce = v
		case "hatchery.stage0":
			b.Stage0 = v
		case "BOOTIF": // 01-aa-bb-cc-dd-ee-ff: hardware type, then the MAC (pxelinux' form)
			if mac, err := inventory.ParseMAC(strings.TrimPrefix(v, "01-")); err == nil {
				b.BootIF = mac
			}
		}
	}
	if b.URL == "" || b.Nonce == "" {
		return b, errNotBooted
	}
	u, err := url.Parse(b.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return b, fmt.Errorf("hatchery.url=%q on the kernel command line: want http://ADDRESS:PORT", inventory.Clean(b.URL, 100))
	}
	if err := agentapi.CheckNonce(b.Nonce); err != nil {
		return b, fmt.Errorf("hatchery.nonce on the kernel command line: %w", err)
	}
	return b, nil
}
