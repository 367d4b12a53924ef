package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/internal/tlspin"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// usbAppliance is an appliance's web side with TLS, and a token it made.
func usbAppliance(t *testing.T, store *inventorytest.Store) (srv *httptest.Server, fingerprint string) {
	t.Helper()
	images, err := stage0.Open(stage0.Config{Dir: stage0Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	s, err := httpboot.New(httpboot.Config{Store: store, Stage0: images, AuthorizedKeys: func() []string { return []string{applianceKey} },
		JoinToken: func(hash string, _ time.Time) error {
			if hash != agentapi.TokenHash("the token") {
				return context.DeadlineExceeded
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	srv = httptest.NewTLSServer(s.AgentHandler())
	t.Cleanup(srv.Close)
	return srv, tlspin.Of(srv.Certificate())
}

func usbMachine(t *testing.T, p agentapi.Personal) tree {
	t.Helper()
	r := testMachine(t)
	r.hostKey()
	r.file("cmdline", "quiet")
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	r.file("iso/hatchery/personal.json", string(raw)+strings.Repeat("\n", 500))
	return r
}

func TestUSBImageJoinsItsAppliance(t *testing.T) {
	store := inventorytest.NewStore(t)
	srv, fp := usbAppliance(t, store)
	r := usbMachine(t, agentapi.Personal{Version: 1, URLs: []string{"https://127.0.0.1:1", srv.URL}, Fingerprint: fp, Token: "the token", AuthorizedKeys: []string{applianceKey}})
	out := &console{}
	args := []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline"), "--once"}
	if err := run(context.Background(), args, out); err != nil {
		t.Fatal(err)
	}
	h := hostOf(t, store)
	if h.State != inventory.StateReady || h.Facts == nil || h.Serial != "SN1" || h.Attention != "" {
		t.Errorf("host: %+v", h)
	}
	if err := store.Update(func(tx *inventory.Tx) error {
		h.EverFlipped, h.State = true, inventory.StateInstalled
		_, err := tx.PutHost(h)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, out) }()
	out.waitFor(t, "Take the stick out")
	cancel()
	<-done
	if h := hostOf(t, store); h.State != inventory.StateInstalled {
		t.Errorf("an installed host became %s", h.State)
	}
}

func TestUSBImageSpeaksOnlyToItsAppliance(t *testing.T) {
	store := inventorytest.NewStore(t)
	srv, _ := usbAppliance(t, store)
	r := usbMachine(t, agentapi.Personal{Version: 1, URLs: []string{srv.URL}, Fingerprint: strings.Repeat("ab", 32), Token: "the token"})
	out := &console{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline")}, out)
	}()
	out.waitFor(t, "is not the appliance this USB image is from")
	cancel()
	<-done
}

func TestUSBImageThatWasNotPersonalised(t *testing.T) {
	r := testMachine(t)
	r.file("cmdline", "quiet")
	r.file("iso/hatchery/personal.json", strings.Repeat("\n", 100))
	err := run(context.Background(), []string{"--root", r.root, "--cmdline", filepath.Join(r.root, "cmdline")}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "was not personalised") {
		t.Errorf("got %v", err)
	}
}

func TestStaticCommands(t *testing.T) {
	t.Parallel()
	got := staticCommands("eth0", &agentapi.Static{Address: netip.MustParsePrefix("192.0.2.50/24"), Gateway: netip.MustParseAddr("192.0.2.1")})
	want := [][]string{{"link", "set", "dev", "eth0", "up"}, {"address", "replace", "192.0.2.50/24", "dev", "eth0"}, {"route", "replace", "default", "via", "192.0.2.1", "dev", "eth0"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
