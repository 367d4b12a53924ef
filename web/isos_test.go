package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// fakeISOs keeps images in memory: their bytes are made of their id.
type fakeISOs struct {
	mu    sync.Mutex
	store inventory.Store
	all   []ISO
}

func isoBytes(id string) []byte { return bytes.Repeat([]byte(id+"\n"), 50_000) }

func (f *fakeISOs) note(by string, from netip.Addr, text string) error {
	return f.store.Update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: time.Now(), Kind: "admin", By: by, From: from, Text: text})
	})
}

func (f *fakeISOs) CreateISO(_ context.Context, r ISORequest) (ISO, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Static != nil && r.Static.Gateway.IsValid() && !r.Static.Address.Contains(r.Static.Gateway) {
		return ISO{}, fmt.Errorf("gateway %s: not another address of %s: %w", r.Static.Gateway, r.Static.Address.Masked(), inventory.ErrInvalid)
	}
	i := ISO{ID: fmt.Sprintf("%016x", len(f.all)+1), Arch: r.Arch, CreatedAt: time.Now(), CreatedBy: r.By, Expires: r.Expires, Static: r.Static}
	if i.Expires.IsZero() {
		i.Expires = i.CreatedAt.Add(7 * 24 * time.Hour)
	}
	b := isoBytes(i.ID)
	sum := sha256.Sum256(b)
	i.Size, i.SHA256 = int64(len(b)), hex.EncodeToString(sum[:])
	f.all = append([]ISO{i}, f.all...)
	return i, f.note(r.By, r.From, "Made a USB image.")
}

func (f *fakeISOs) ISOs() ([]ISO, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all), nil
}

func (f *fakeISOs) OpenISO(id string) (ISO, io.ReadSeeker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.all {
		if i.ID == id {
			return i, bytes.NewReader(isoBytes(id)), nil
		}
	}
	return ISO{}, nil, fmt.Errorf("USB image %q is %w", id, inventory.ErrNotFound)
}

func (f *fakeISOs) RevokeISO(id, by string, from netip.Addr) error {
	if _, _, err := f.OpenISO(id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = slices.DeleteFunc(f.all, func(i ISO) bool { return i.ID == id })
	return f.note(by, from, "Revoked a USB image.")
}

// withISOs is a box that makes USB images.
func withISOs(t *testing.T) *box {
	t.Helper()
	return start(t, func(c *Config) {
		site := newFakeSite()
		site.media.Stage0[0].ISO = true
		site.config(c)
		c.ISOs = &fakeISOs{store: c.Store}
	})
}

func TestUSBImagesForPrograms(t *testing.T) {
	t.Parallel()
	b := withISOs(t)
	end := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	var made, plain ISO
	b.api("POST", "/isos", map[string]any{"arch": "x86_64", "expires": end, "static": map[string]any{"address": "192.168.1.50/24", "gateway": "192.168.1.1", "dns": []string{"9.9.9.9"}}}, 201, &made)
	b.api("POST", "/isos", map[string]any{}, 201, &plain)
	want := &ISOStatic{Address: netip.MustParsePrefix("192.168.1.50/24"), Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}
	if made.Static == nil || made.Static.Address != want.Address || made.Static.Gateway != want.Gateway || !slices.Equal(made.Static.DNS, want.DNS) || !made.Expires.Equal(end) || made.Expired {
		t.Errorf("made %+v", made)
	}
	if plain.Arch != "x86_64" || plain.Static != nil || plain.URL != b.URL()+"/api/v1/isos/"+plain.ID {
		t.Errorf("made %+v", plain)
	}
	var list struct{ Items []ISO }
	if b.api("GET", "/isos", nil, 200, &list); len(list.Items) != 2 || list.Items[0].ID != plain.ID {
		t.Errorf("listed %+v", list)
	}
	for _, c := range []struct {
		name string
		body string
		code int
		want string
	}{
		{"an unknown architecture", `{"arch":"riscv"}`, 422, "expected value to be one of"},
		{"an address without its length", `{"static":{"address":"192.168.1.50"}}`, 422, "192.168.1.50/24"},
		{"a gateway elsewhere", `{"static":{"address":"192.168.1.50/24","gateway":"10.0.0.1"}}`, 422, "not another address"},
		{"a bad DNS server", `{"static":{"address":"192.168.1.50/24","dns":["example.org"]}}`, 422, "DNS server"},
	} {
		if a := b.api("POST", "/isos", c.body, c.code, nil); !strings.Contains(a.body, c.want) {
			t.Errorf("%s: got %s, want %q in it", c.name, a.body, c.want)
		}
	}
	b.api("DELETE", "/isos/"+plain.ID, nil, 204, nil)
	b.api("GET", "/isos/"+plain.ID, nil, 404, nil)
	b.api("DELETE", "/isos/"+plain.ID, nil, 404, nil)
	none := start(t, nil)
	none.api("POST", "/isos", map[string]any{}, 501, nil)
	none.api("GET", "/isos/1", nil, 501, nil)
	none.api("GET", "/isos", nil, 200, nil)
}

func TestUSBImageDownloads(t *testing.T) {
	t.Parallel()
	b := withISOs(t)
	var made ISO
	b.api("POST", "/isos", map[string]any{}, 201, &made)
	path, whole := "/api/v1/isos/"+made.ID, isoBytes(made.ID)
	get := func(method string, headers ...string) answer {
		return b.send(method, path, nil, func(r *http.Request) {
			b.bearer(r)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
		})
	}
	size := fmt.Sprint(len(whole))
	if a := get("GET", "Accept-Encoding", "gzip"); a.code != 200 || a.body != string(whole) || a.header.Get("Content-Length") != size || a.header.Get("Content-Encoding") != "" ||
		a.header.Get("ETag") != `"`+made.SHA256+`"` || !strings.Contains(a.header.Get("Content-Disposition"), made.FileName()) {
		t.Errorf("got %d, %d bytes, %v", a.code, len(a.body), a.header)
	}
	if a := get("HEAD"); a.code != 200 || a.body != "" || a.header.Get("Content-Length") != size {
		t.Errorf("HEAD: got %d %v", a.code, a.header)
	}
	if a := get("GET", "Range", "bytes=100000-"); a.code != 206 || a.body != string(whole[100000:]) {
		t.Errorf("resume: got %d, %d bytes", a.code, len(a.body))
	}
	if a := get("GET", "Range", "bytes=100000-", "If-Range", `"another"`); a.code != 200 || len(a.body) != len(whole) {
		t.Errorf("resume of another image: got %d, %d bytes", a.code, len(a.body))
	}
	if a := get("GET", "Range", "bytes="+size+"-"); a.code != 416 {
		t.Errorf("nothing is left: got %d", a.code)
	}
	if a := b.send("GET", path, nil, nil); a.code != 401 {
		t.Errorf("a stranger: got %d", a.code)
	}
	for scope, want := range map[Scope]int{ScopeRead: 403, ScopeOperate: 200} {
		token := b.makeToken("t-"+string(scope), scope, nil).Secret
		if a := b.send("GET", path, nil, as(token)); a.code != want {
			t.Errorf("scope %s: got %d, want %d", scope, a.code, want)
		}
	}
}

func TestUSBImagesOnThePage(t *testing.T) {
	t.Parallel()
	b := withISOs(t)
	b.signIn()
	if p := b.page("/media"); !strings.Contains(p, "New USB image") || !strings.Contains(p, "<option>x86_64</option>") {
		t.Error("the page does not offer to make one")
	}
	if a := b.send("POST", "/media/isos", form("arch", "x86_64", "days", "30", "address", "192.168.1.50", "gateway", "", "dns", "", "mac", ""), nil); a.code != 422 ||
		!strings.Contains(a.body, "want one with the length of its network") || !strings.Contains(a.body, `value="192.168.1.50"`) {
		t.Errorf("a wrong address: got %d %s", a.code, a.body)
	}
	if a := b.send("POST", "/media/isos", form("arch", "x86_64", "days", "30", "address", "192.168.1.50/24"), nil); a.code != 303 {
		t.Fatalf("got %d %s", a.code, a.body)
	}
	var list struct{ Items []ISO }
	b.api("GET", "/isos", nil, 200, &list)
	made := list.Items[0]
	p := b.page("/media")
	for _, want := range []string{"The USB image is made.", made.SHA256, "192.168.1.50/24", `href="/api/v1/isos/` + made.ID + `"`, made.FileName()} {
		if !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if d := time.Until(made.Expires); d < 29*24*time.Hour || d > 30*24*time.Hour {
		t.Errorf("it ends in %s, want 30 days", d)
	}
	if a := b.send("GET", "/api/v1/isos/"+made.ID, nil, nil); a.code != 200 {
		t.Errorf("the link of a signed-in browser: got %d", a.code)
	}
	if a := b.send("POST", "/media/isos/"+made.ID+"/revoke", nil, nil); a.code != 303 {
		t.Errorf("revoke: got %d", a.code)
	}
	if p := b.page("/media"); strings.Contains(p, made.SHA256) {
		t.Error("a revoked image is still shown")
	}
}
