package e2e

import (
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rsc.io/qr"

	"github.com/staged-hive/hatchery/internal/lab"
)

// TestScreenShowsThePage reads the QR code off a real text screen of 25 lines: nothing of it scrolled away, and the
// kernel's font drew its halves of characters as modules.
func TestScreenShowsThePage(t *testing.T) {
	full(t)
	l := newLAN(t)
	a := startAppliance(t, l, serverFlags(l)...)
	m := newMachine(t, l, lab.MachineConfig{Name: "screen", Screen: true})
	// the stand-in for stage-0 has its console on the serial line; nix's has the screen last, as here
	if _, err := a.call(http.MethodPut, "/hosts/"+m.MAC(), map[string]any{"kernel_args": "console=tty0"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "screen.png")
	if keep := os.Getenv("HATCHERY_SCREENSHOT"); keep != "" { // to hold a telephone against, or zbarimg
		file = keep
	}
	eventually(t, 240*time.Second, func() string {
		h, err := a.host(m.MAC())
		if err != nil || h == nil || h.State != "ready" {
			return "the machine has not checked in"
		}
		if err := m.Screenshot(file); err != nil {
			return err.Error()
		}
		page := a.url("/hosts/" + h.ID)
		code, err := qr.Encode(page, qr.L)
		if err != nil {
			t.Fatal(err)
		}
		if cells := textScreen(t, file); !shows(cells, code) {
			return "the screen does not show the QR code of " + page
		}
		return ""
	})
}

// textScreen reads a screen of 80 columns of text as two halves a character: true is light.
func textScreen(t *testing.T, file string) [][]bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return halves(img)
}

// halves is the middle of every upper and lower half of a cell, 16 pixels high.
func halves(img image.Image) [][]bool {
	width := img.Bounds().Dx() / 80
	var rows [][]bool
	for y := 4; y < img.Bounds().Dy(); y += 8 {
		row := make([]bool, 80)
		for x := range row {
			row[x] = color.GrayModel.Convert(img.At(x*width+width/2, y)).(color.Gray).Y > 96
		}
		rows = append(rows, row)
	}
	return rows
}

// shows reports whether the code is somewhere on the screen, with a light border of two modules at least.
func shows(rows [][]bool, code *qr.Code) bool {
	const border = 2
	for top := border; top+code.Size+border <= len(rows); top++ {
		for left := border; left+code.Size+border <= 80; left++ {
			if all(code.Size+2*border, func(x, y int) bool {
				return rows[top-border+y][left-border+x] != code.Black(x-border, y-border)
			}) {
				return true
			}
		}
	}
	return false
}

func all(size int, holds func(x, y int) bool) bool {
	for i := range size * size {
		if !holds(i%size, i/size) {
			return false
		}
	}
	return true
}
