package pipeline

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// bootEntry is a Boot#### variable as efivarfs shows it: attributes, then an EFI_LOAD_OPTION (UEFI 2.10 §3.1.3) whose
// device path is the given nodes.
func bootEntry(t *testing.T, nodes ...string) string {
	t.Helper()
	raw, err := hex.DecodeString("07000000" + "01000000" + "0000" + "4e0049004300" + "0000" + strings.Join(nodes, "") + "7fff0400")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestNetbootOnce runs the script with sh on variables like those of OVMF.
func TestNetbootOnce(t *testing.T) {
	t.Parallel()
	mac := inventory.MAC{0x52, 0x54, 0, 0x6c, 0x61, 0x0a}
	nic := func(m string) string { return "030b2500" + m + strings.Repeat("00", 26) + "01" }
	mine, other := nic("5254006c610a"), nic("5254006c610b")
	ip4, ip6, uri := "030c1b00"+strings.Repeat("00", 23), "030d3c00"+strings.Repeat("00", 56), "03180400"
	const guid = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	for _, c := range []struct {
		name    string
		entries map[string]string
		want    string
		next    string
	}{
		{"PXE by IPv4 comes before HTTP and IPv6", map[string]string{"Boot0001": bootEntry(t, mine, ip6), "Boot0002": bootEntry(t, mine, ip4, uri), "Boot001A": bootEntry(t, mine, ip4),
			"Boot0004": bootEntry(t, other, ip4), "Boot0000": bootEntry(t, "0104")}, "armed Boot001A", "\x07\x00\x00\x00\x1a\x00"},
		{"HTTP Boot where there is no PXE", map[string]string{"Boot0102": bootEntry(t, mine, ip4, uri), "Boot0003": bootEntry(t, mine, ip6)}, "armed Boot0102", "\x07\x00\x00\x00\x02\x01"},
		{"a firmware that names the card alone", map[string]string{"Boot0005": bootEntry(t, mine)}, "armed Boot0005", "\x07\x00\x00\x00\x05\x00"},
		{"another card", map[string]string{"Boot0004": bootEntry(t, other, ip4)}, "none", ""},
		{"no entries", nil, "none", ""},
	} {
		for _, shell := range [][]string{{"sh", "-s"}, {"bash", "--posix", "-s"}} {
			dir := t.TempDir()
			for n, v := range c.entries {
				if err := os.WriteFile(filepath.Join(dir, n+guid), []byte(v), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(shell[0], shell[1:]...)
			cmd.Env = append(os.Environ(), "EFIVARS="+dir)
			cmd.Stdin = strings.NewReader(netbootOnceScript(mac))
			out, err := cmd.CombinedOutput()
			next, _ := os.ReadFile(filepath.Join(dir, "BootNext"+guid))
			if got := strings.TrimSpace(string(out)); err != nil || got != c.want || string(next) != c.next {
				t.Errorf("%s, %s: got %q, %v, BootNext %q; want %q, %q", c.name, shell[0], got, err, next, c.want, c.next)
			}
		}
	}
	cmd := exec.Command("sh", "-s")
	cmd.Env = append(os.Environ(), "EFIVARS="+filepath.Join(t.TempDir(), "none"))
	cmd.Stdin = strings.NewReader(netbootOnceScript(mac))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "bios\n" {
		t.Errorf("BIOS: got %q, %v", out, err)
	}
}
