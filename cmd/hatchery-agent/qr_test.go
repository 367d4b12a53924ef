package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"rsc.io/qr"
)

// TestPageQRIsTheCode reads the characters back into modules and compares them with the library's own.
func TestPageQRIsTheCode(t *testing.T) {
	t.Parallel()
	const page = "https://10.77.0.1:8443/hosts/0123456789abcdef0123"
	got := pageQR(page)
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if !strings.HasSuffix(lines[0], page) {
		t.Errorf("the address is not written out: %q", lines[0])
	}
	lines = lines[1:]
	code, err := qr.Encode(page, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) > 24 || utf8.RuneCountInString(lines[0]) != code.Size+2*quiet {
		t.Errorf("%d lines of %d: want at most 24 lines of %d", len(lines), utf8.RuneCountInString(lines[0]), code.Size+2*quiet)
	}
	for i, l := range lines {
		for x, r := range []rune(l) {
			for half, light := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
				y := 2*i + half
				if y < code.Size+2*quiet && light == code.Black(x-quiet, y-quiet) {
					t.Fatalf("module %d,%d is light=%v", x-quiet, y-quiet, light)
				}
			}
		}
	}
}

func TestPageQRDrawsAddressesOnly(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"", "hello", "file:///etc/passwd", "https://", "https://a/\x1b[2J", "https://a/" + strings.Repeat("x", maxPage)} {
		if got := pageQR(page); got != "" {
			t.Errorf("%q gave %q", page, got)
		}
	}
	if long := "https://a/" + strings.Repeat("x", maxPage-10); strings.Count(pageQR(long), "\n") > 25 {
		t.Error("the longest address does not fit on a screen")
	}
}
