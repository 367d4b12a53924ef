package httpboot

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// Params is what iPXE tells of the machine in its script's URL; parsed and bounded.
type Params struct {
	MAC       inventory.MAC
	UUID      string // lower case, "" = unknown
	Serial    string // "" = unknown
	Platform  string // "pcbios", "efi"
	BuildArch string // "i386", "x86_64", "arm32", "arm64"
	// Retry says that a person chose "try again" in the hold menu.
	Retry bool
}

// maxQuery bounds the query string of a script fetch, in bytes.
const maxQuery = 1024

// ParseParams reads the query of a script fetch. Unknown parameters are skipped; the MAC is needed.
func ParseParams(rawQuery string) (Params, error) {
	var p Params
	if len(rawQuery) > maxQuery {
		return p, fmt.Errorf("query of %d bytes: at most %d", len(rawQuery), maxQuery)
	}
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return p, fmt.Errorf("query: not URL-encoded")
	}
	if p.MAC, err = inventory.ParseMAC(q.Get("mac")); err != nil {
		return p, err
	}
	if u := strings.ToLower(q.Get("uuid")); isUUID(u) {
		p.UUID = u
	}
	p.Serial = inventory.Clean(q.Get("serial"), 64)
	p.Platform = oneOf(q.Get("platform"), "pcbios", "efi")
	p.BuildArch = oneOf(q.Get("buildarch"), "i386", "x86_64", "arm32", "arm64")
	p.Retry = q.Get("retry") == "1"
	return p, nil
}

func oneOf(s string, known ...string) string {
	for _, k := range known {
		if s == k {
			return s
		}
	}
	return ""
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if hyphen != (c == '-') || !hyphen && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Arch is the architecture of the stage-0 image the machine needs, "" when it is one that no
// image is made for. An i386 build is what undionly.kpxe is, on 64-bit machines too.
func (p Params) Arch() string {
	switch p.BuildArch {
	case "i386", "x86_64", "":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return ""
}

// Firmware is the machine's firmware as the inventory names it, "" when iPXE did not say.
func (p Params) Firmware() string {
	switch p.Platform {
	case "pcbios":
		return "bios"
	case "efi":
		return "uefi"
	}
	return ""
}

// query is the script URL's query for the same machine, in letters that iPXE takes as they are.
func (p Params) query() string {
	q := "mac=" + p.MAC.Hyphens() + "&uuid=" + p.UUID + "&serial=" + escapeQuery(p.Serial) +
		"&platform=" + p.Platform + "&buildarch=" + p.BuildArch
	return q
}

// escapeQuery percent-encodes everything but letters, digits, '-' and '.', so that neither
// iPXE's line syntax nor a URL finds anything to act on.
func escapeQuery(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
