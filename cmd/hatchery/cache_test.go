package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/internal/hive"
)

func TestReadCache(t *testing.T) {
	t.Parallel()
	const key = "box-hatchery-1:A7Lwvo9KSYfyhCjHjw4pGRbBTQbUvcXmyVrL+7bBA9k="
	for _, tc := range []struct{ name, file, page, want, err string }{
		{"an IPv4 address", key + "\n", "https://10.0.0.2:8443", "http://10.0.0.2:5000", ""},
		{"an IPv6 address", key, "https://[fd00::2]:8443", "http://[fd00::2]:5000", ""},
		{"the secret key by mistake", strings.Repeat("x", 1000), "https://10.0.0.2:8443", "", "want NAME:BASE64"},
		{"an appliance without a network", key, "https://localhost:8443", "", "no address in the LAN"},
		{"an address without a host", key, "https://:8443", "", "names no host"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := filepath.Join(t.TempDir(), "public")
			if err := os.WriteFile(f, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readCache(f, tc.page, 5000)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), strings.Repeat("x", 100)) {
					t.Fatalf("error %v, want %q and not the whole file", err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(hive.Cache{URL: tc.want, PublicKey: key}, got); err != nil || diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

// TestNixModuleSettings reads what the NixOS module renders (nix/tests holds that text to the module): it must be a
// configuration of ours, and the module must know every key.
func TestNixModuleSettings(t *testing.T) {
	t.Parallel()
	got, err := loadSettings("../../nix/tests/settings.toml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.check(); err != nil {
		t.Error(err)
	}
	if want := `https://git.example.org/hive \ "quoted"`; got.Hive != want {
		t.Errorf("hive = %s, want %s", got.Hive, want)
	}
	v, def := reflect.ValueOf(got), reflect.ValueOf(defaultSettings())
	for i := range v.NumField() {
		if reflect.DeepEqual(v.Field(i).Interface(), def.Field(i).Interface()) {
			t.Errorf("%s: nix/tests/settings.nix does not set it to something else than the default. Is it new? Then add it to nix/appliance-settings.nix too",
				v.Type().Field(i).Tag.Get("toml"))
		}
	}
}
