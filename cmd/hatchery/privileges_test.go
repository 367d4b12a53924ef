package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unitFile is the systemd unit as it is installed, with a program that exists.
func unitFile(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../packaging/hatchery.service.in")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hatchery.service")
	text := strings.NewReplacer("@bin@/hatchery", "/bin/true", "@ipxe@", "/usr/lib/ipxe").Replace(string(raw))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnitIsHardened asks systemd how exposed the service is (0 to 10, most services above 9): at most 2.0.
func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze (Debian: systemd)")
	}
	unit := unitFile(t)
	if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", unit).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// TestUnitsAgree holds the NixOS module's unit to the one of the Debian package.
func TestUnitsAgree(t *testing.T) {
	t.Parallel()
	read := func(path, line string) map[string]string {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, m := range regexp.MustCompile(line).FindAllStringSubmatch(string(raw), -1) {
			v := strings.Trim(m[2], `[]"; `)
			out[m[1]] = strings.NewReplacer(`"`, "", "  ", " ").Replace(v)
		}
		return out
	}
	keys := `(Protect\w+|Private\w+|Restrict\w+|NoNewPrivileges|\w*Capabilit\w+|SystemCall\w+|LockPersonality|RemoveIPC|UMask|LimitNOFILE)`
	debian := read("../../packaging/hatchery.service.in", `(?m)^`+keys+`=(.*)$`)
	nixos := read("../../nix/appliance.nix", `(?m)^ +`+keys+` = (.*);`)
	if diff := cmp.Diff(debian, nixos); diff != "" || len(debian) < 20 {
		t.Errorf("%d settings; -packaging/hatchery.service.in +nix/appliance.nix:\n%s", len(debian), diff)
	}
}
