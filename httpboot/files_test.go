package httpboot

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestETagTellsFilesOfOneSizeAndAgeApart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "snponly.efi")
	put := func(text string) string {
		next := path + ".new"
		if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(next, time.Unix(1, 0), time.Unix(1, 0)); err != nil { // as all is in a Nix store
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return etag(st)
	}
	if one, two := put("one"), put("two"); one == two {
		t.Errorf("both are %s", one)
	}
}
