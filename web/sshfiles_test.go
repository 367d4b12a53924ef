package web

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

const plantedKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGsQW7ux8yqn5Vd6bhm0Kz9XwZZxD4gk2v6yGqIX1k0J"

func TestSSHFiles(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	var h Host
	b.api("PUT", "/hosts/"+mac(4).String(), `{"address":{"ip":"192.168.1.44"}}`, 200, &h)
	b.put(h.ID, func(h *inventory.Host) { h.InstalledKey = plantedKey })
	known := b.api("GET", "/ssh/known_hosts", nil, 200, nil)
	if diff := cmp.Diff("node1,192.168.1.44,10.0.0.4 "+plantedKey+"\n", known.body); diff != "" {
		t.Errorf("known_hosts (-want +got):\n%s", diff)
	}
	if got := known.header.Get("Content-Disposition"); got != `attachment; filename="hatchery_known_hosts"` {
		t.Errorf("it is saved as %s", got)
	}
	config := b.api("GET", "/ssh/config", nil, 200, nil).body
	if strings.Count(config, "\nHost ") != 1 {
		t.Errorf("more or less than the one installed host:\n%s", config)
	}
	// ssh itself must read both, and find the key.
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("no ssh here to read them")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"config": config, "known": known.body} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(ssh, "-G", "-F", filepath.Join(dir, "config"), "node1").CombinedOutput()
	if err != nil {
		t.Fatalf("ssh -G: %v\n%s", err, out)
	}
	for _, want := range []string{"hostname 192.168.1.44", "user root", "hostkeyalias node1", "stricthostkeychecking true"} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("ssh understood otherwise: no %q in\n%s", want, out)
		}
	}
	if out, err := exec.Command("ssh-keygen", "-F", "node1", "-f", filepath.Join(dir, "known")).CombinedOutput(); err != nil || !strings.Contains(string(out), plantedKey) {
		t.Errorf("ssh-keygen does not find the host's key: %v\n%s", err, out)
	}
	b.signIn()
	if page := b.send("GET", "/", nil, nil).body; !strings.Contains(page, `href="/api/v1/ssh/known_hosts"`) || !strings.Contains(page, `href="/api/v1/ssh/config"`) {
		t.Error("the machines page offers no downloads for ssh")
	}
}
