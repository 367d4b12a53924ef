package httpboot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

// smallISO is an ISO 9660 image with hatchery/personal.json of 4 KiB at sector 30.
func smallISO() []byte {
	const sector = 2048
	b := make([]byte, 40*sector)
	record := func(name string, lba, size uint32, flags byte) []byte {
		r := make([]byte, 33+len(name)+(1-len(name)%2))
		r[0], r[25], r[32] = byte(len(r)), flags, byte(len(name))
		binary.LittleEndian.PutUint32(r[2:], lba)
		binary.LittleEndian.PutUint32(r[10:], size)
		copy(r[33:], name)
		return r
	}
	b[16*sector] = 1
	copy(b[16*sector+1:], "CD001")
	copy(b[16*sector+156:], record("\x00", 20, sector, 2))
	copy(b[20*sector:], record("HATCHERY", 21, sector, 2))
	copy(b[21*sector:], record("PERSONAL.JSON;1", 30, 4096, 0))
	copy(b[30*sector:], bytes.Repeat([]byte("\n"), 4096))
	return b
}

func newISOs(t *testing.T) (*httpboot.ISOs, *inventorytest.Store, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "stage0-x86_64.iso"), smallISO(), 0o600); err != nil {
		t.Fatal(err)
	}
	images, err := stage0.Open(stage0.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	store := inventorytest.NewStore(t)
	isos, err := httpboot.NewISOs(httpboot.ISOConfig{Store: store, Stage0: images, URLs: func() []string { return []string{"https://192.0.2.1:8443"} },
		Fingerprint: func() string { return strings.Repeat("ab", 32) }, AuthorizedKeys: func() []string { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return isos, store, dir
}

func TestISOStreamIsStableAndHashed(t *testing.T) {
	t.Parallel()
	isos, _, dir := newISOs(t)
	now := time.Now()
	static := &agentapi.Static{Address: netip.MustParsePrefix("192.0.2.50/24")}
	info, err := isos.Create(context.Background(), httpboot.ISORequest{Arch: "x86_64", Static: static, By: "admin"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, body, err := isos.Open(info.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		sum := sha256.Sum256(b)
		if err != nil || hex.EncodeToString(sum[:]) != info.SHA256 || int64(len(b)) != info.Size {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		p, err := agentapi.ParsePersonal(b[30*2048 : 32*2048])
		if err != nil || p.Static.Address != static.Address || p.Expires.Before(now.Add(6*24*time.Hour)) {
			t.Errorf("%+v, %v", p, err)
		}
		if err := isos.CheckToken(agentapi.TokenHash(p.Token), now); err != nil {
			t.Errorf("its token: %v", err)
		}
		if err := isos.CheckToken(agentapi.TokenHash(p.Token), now.Add(8*24*time.Hour)); err == nil || !strings.Contains(err.Error(), "ended on") {
			t.Errorf("its token a week later: %v", err)
		}
	}
	if err := isos.CheckToken(agentapi.TokenHash("guess"), now); err == nil || !strings.Contains(err.Error(), "not made by this appliance") {
		t.Errorf("a guessed token: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), append(smallISO(), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "stage0-x86_64.iso")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := isos.Open(info.ID); !errors.Is(err, httpboot.ErrISOGone) {
		t.Errorf("after the image was replaced: %v", err)
	}
	if _, _, err := isos.Open("nope"); !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("an unknown id: %v", err)
	}
}

func TestISORequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	isos, _, _ := newISOs(t)
	now := time.Now()
	for _, c := range []struct {
		name string
		r    httpboot.ISORequest
		want error
	}{
		{"a token that is over already", httpboot.ISORequest{Arch: "x86_64", Expires: now.Add(-time.Hour)}, inventory.ErrInvalid},
		{"a token for ever", httpboot.ISORequest{Arch: "x86_64", Expires: now.Add(1000 * 24 * time.Hour)}, inventory.ErrInvalid},
		{"a gateway elsewhere", httpboot.ISORequest{Arch: "x86_64", Static: &agentapi.Static{Address: netip.MustParsePrefix("192.0.2.50/24"), Gateway: netip.MustParseAddr("198.51.100.1")}}, inventory.ErrInvalid},
		{"an architecture without an image", httpboot.ISORequest{Arch: "aarch64"}, stage0.ErrNoImage},
		{"an unknown architecture", httpboot.ISORequest{Arch: "../x"}, stage0.ErrNoImage},
	} {
		if _, err := isos.Create(context.Background(), c.r, now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestOldISORecordsGo(t *testing.T) {
	t.Parallel()
	isos, store, _ := newISOs(t)
	now := time.Now()
	var ids []string
	for i := range 3 {
		info, err := isos.Create(context.Background(), httpboot.ISORequest{Arch: "x86_64"}, now.Add(time.Duration(i)*30*24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.ID)
	}
	n := 0
	if err := store.View(func(tx *inventory.Tx) error {
		return tx.Scan("isos", "", "", func(string, []byte) (bool, error) { n++; return true, nil })
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := isos.Open(ids[0]); n != 1 || !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("%d records are left, the first: %v", n, err)
	}
}

func TestRevokedISO(t *testing.T) {
	t.Parallel()
	isos, store, _ := newISOs(t)
	now := time.Now()
	info, err := isos.Create(context.Background(), httpboot.ISORequest{Arch: "x86_64", By: "admin"}, now)
	if err != nil {
		t.Fatal(err)
	}
	_, body, err := isos.Open(info.ID)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 4096)
	if _, err := body.Seek(30*2048, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, text); err != nil {
		t.Fatal(err)
	}
	p, err := agentapi.ParsePersonal(text)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := isos.List(); err != nil || len(all) != 1 || all[0].ID != info.ID || all[0].By != "admin" {
		t.Errorf("list: %+v, %v", all, err)
	}
	if err := isos.Revoke(info.ID, "token x", netip.Addr{}, now); err != nil {
		t.Fatal(err)
	}
	if err := isos.CheckToken(agentapi.TokenHash(p.Token), now); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("its token: %v", err)
	}
	if _, _, err := isos.Open(info.ID); !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("its bytes: %v", err)
	}
	if err := isos.Revoke(info.ID, "token x", netip.Addr{}, now); !errors.Is(err, inventory.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if err := store.View(func(tx *inventory.Tx) error {
		return tx.Scan("iso_tokens", "", "", func(string, []byte) (bool, error) { t.Error("a token is left"); return true, nil })
	}); err != nil {
		t.Fatal(err)
	}
}
