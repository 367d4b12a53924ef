package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/lab"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// checkNonce plays an agent by hand from the router's side, which is a machine
// of the LAN with an address and a MAC like any other.
func checkNonce(t *testing.T, a *appliance) {
	t.Helper()
	out, err := a.lan.Command(t.Context(), lab.Router, "cat", "/sys/class/net/eth0/address").Output()
	if err != nil {
		t.Fatal(err)
	}
	mine, alien := strings.TrimSpace(string(out)), "52:54:00:99:99:99"
	first, second := sshtest.NewKey(t), sshtest.NewKey(t)
	nonce := fetchNonce(t, a, mine)
	steps := []struct {
		name  string
		nonce string
		key   ssh.Signer
		sign  ssh.Signer
		mac   string
		want  int
	}{
		{"signed by a key that is not the one it names", nonce, first, second, mine, http.StatusForbidden},
		{"the first check-in binds the nonce", nonce, first, first, mine, http.StatusOK},
		{"the same one again, since a reply may be lost", nonce, first, first, mine, http.StatusOK},
		{"another key with the same nonce", nonce, second, second, mine, http.StatusForbidden},
		{"a nonce that was never issued", strings.Repeat("0", 32), first, first, mine, http.StatusForbidden},
		{"from an address that ARP shows for another MAC", fetchNonce(t, a, alien), second, second, alien, http.StatusForbidden},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			got, reply := checkIn(t, a, s.nonce, s.key, s.sign, s.mac)
			if got/100 != s.want/100 { // which of the refusals is the appliance's choice
				t.Errorf("got %d, want %d: %s", got, s.want, reply)
			}
		})
	}
	for _, mac := range []string{mine, alien} {
		if _, err := a.call(http.MethodDelete, "/hosts/"+mac, nil, nil); err != nil {
			t.Error(err)
		}
	}
}

func routerClient(a *appliance) *http.Client {
	return &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DialContext: a.lan.Dialer(lab.Router), DisableKeepAlives: true}}
}

// script is what iPXE of a machine with this MAC would be told.
func script(t *testing.T, a *appliance, mac string) string {
	t.Helper()
	res, err := routerClient(a).Get(a.bootURL("/boot.ipxe?mac=" + strings.ReplaceAll(mac, ":", "-") + "&uuid=&serial=&platform=efi&buildarch=x86_64"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var nonceWord = regexp.MustCompile(`hatchery\.nonce=([0-9a-f]+)`)

func fetchNonce(t *testing.T, a *appliance, mac string) string {
	t.Helper()
	s := script(t, a, mac)
	m := nonceWord.FindStringSubmatch(s)
	if m == nil {
		t.Fatalf("no nonce in the script for %s:\n%s", mac, s)
	}
	return m[1]
}

func checkIn(t *testing.T, a *appliance, nonce string, key, sign ssh.Signer, mac string) (int, string) {
	t.Helper()
	code, reply, err := sendCheckIn(t.Context(), routerClient(a), a, nonce, key, sign, mac)
	if err != nil {
		t.Fatal(err)
	}
	return code, reply
}

// sendCheckIn checks a machine in that tells little of itself.
func sendCheckIn(ctx context.Context, client *http.Client, a *appliance, nonce string, key, sign ssh.Signer, mac string) (int, string, error) {
	m, err := inventory.ParseMAC(mac)
	if err != nil {
		return 0, "", err
	}
	body, err := json.Marshal(agentapi.CheckIn{
		Nonce: nonce, HostKey: sshtest.PublicLine(key),
		BootID: "11111111-2222-4333-8444-555555555555",
		Facts: inventory.Facts{Arch: "x86_64", Firmware: "uefi", MemoryBytes: 1 << 30, Disks: []inventory.Disk{},
			NICs: []inventory.NIC{{Name: "eth0", MAC: m}}},
	})
	if err != nil {
		return 0, "", err
	}
	sig, err := agentapi.Sign(sign, agentapi.PathCheckIn, body)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.bootURL(agentapi.PathCheckIn), bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(agentapi.SignatureHeader, sig)
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}
