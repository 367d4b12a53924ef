package main

import (
	"net/url"
	"strings"

	"rsc.io/qr"
)

// maxPage keeps the code within the 25 lines of a text screen: version 5 at level L holds 106 bytes (ISO/IEC 18004,
// table 7) and is 37 modules high, 23 lines with its quiet zone.
const maxPage = 106

// quiet is the width of the light border around the code (ISO/IEC 18004 §6.3.8), in modules.
const quiet = 4

// pageQR writes the address of a page and draws it below as a QR code, for a console with light text on dark ground:
// two modules, one above the other, a character. What follows pushes the address off the screen first, not the code.
// "" for what is no web address, or one too long.
func pageQR(page string) string {
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(page) > maxPage || strings.ContainsFunc(page, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	code, err := qr.Encode(page, qr.L)
	if err != nil {
		return ""
	}
	light := func(x, y int) bool { return !code.Black(x, y) } // outside of the code is light, too
	var b strings.Builder
	b.WriteString("hatchery-agent: this machine's page: " + page + "\n")
	for y := -quiet; y < code.Size+quiet; y += 2 {
		for x := -quiet; x < code.Size+quiet; x++ {
			lower := y+1 < code.Size+quiet && light(x, y+1)
			switch {
			case light(x, y) && lower:
				b.WriteRune('█')
			case light(x, y):
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
