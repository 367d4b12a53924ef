package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// milestone is one station of the way from power-on to an installed system.
type milestone struct {
	Word string
	At   time.Time // zero = not reached
	Took string    // since the one before
	Text string
	Bad  bool
	Now  string // how far it is, while it goes on
	Past bool   // it was not heard of, and what comes after it was
}

// bootPath is how far the last boot and the last job came, from the diary (oldest first).
func bootPath(h *inventory.Host, diary []inventory.Entry) []milestone {
	path := lastBoot(diary)
	if h.EverFlipped && !slices.ContainsFunc(path, func(m milestone) bool { return !m.At.IsZero() }) {
		path = nil // its diary was trimmed since: nothing is waited for
	} else if s := path[stationScript]; strings.Contains(s.Text, "own disk") {
		path = path[:stationScript+1] // nothing of ours comes after it
	}
	path = append(path, lastJob(diary)...)
	if h.State == inventory.StateInstalled && !h.InstalledAt.IsZero() {
		path = append(path, milestone{Word: "Installed", At: h.InstalledAt, Text: h.InstalledSystem})
	}
	later := false
	for i := len(path) - 1; i >= 0; i-- {
		path[i].Past = later && path[i].At.IsZero()
		later = later || !path[i].At.IsZero()
	}
	var before time.Time
	for i := range path {
		if path[i].At.IsZero() {
			continue
		}
		if d := path[i].At.Sub(before); !before.IsZero() && d >= 0 && d < 24*time.Hour {
			path[i].Took = "+" + durationText(d)
		}
		before = path[i].At
	}
	return path
}

// bootStops is how long the longest step of a healthy boot takes: a large image over a slow link.
const bootStops = 3 * time.Minute

// stuck says where a boot under way stopped and what to do; nil while it goes on, or when nothing is waited for.
func stuck(h *inventory.Host, path []milestone, now time.Time) *Warning {
	if h.State != inventory.StateSeen && h.State != inventory.StateBooting && h.State != inventory.StateExpected {
		return nil
	}
	at := stationNone
	for i, m := range path {
		if !m.At.IsZero() {
			at = i
		}
	}
	if at == stationNone || at == stationCheckIn || now.Sub(path[at].At) < bootStops {
		return nil
	}
	since := "It stopped " + agoText(path[at].At, now) + ": "
	switch at {
	case stationAddress:
		return &Warning{since + "it asked for an address and loaded no boot file.", "If it started its own disk, choose network boot in its firmware. Otherwise look whether a firewall blocks UDP port 69 to this appliance, and on Network what was answered."}
	case stationIPXE:
		return &Warning{since + "iPXE was loaded and asked for no script.", "Its iPXE may have no driver for the network card, or got no address: the screen says which. Try the other UEFI boot entry of the same card, or a USB stick from Boot media."}
	case stationKernel:
		return &Warning{since + "it loaded the kernel and not all of the image.", "Its screen shows iPXE's error with a link: a bad cable, too little memory (stage-0 needs about 2 GiB) and a full disk on the appliance are usual causes."}
	case stationScript:
		return &Warning{since + "it got its script and loaded no kernel.", "If the script sent it to its own disk, all is well. Otherwise a firewall may block the appliance's boot port, or the image is missing: see Boot media."}
	}
	return &Warning{since + "kernel and image were loaded and nobody checked in.", "Stage-0 did not start or does not reach the appliance. Its screen tells: a machine needs about 2 GiB of memory, and its network card a driver in stage-0."}
}

// The stations of a netboot.
const (
	stationNone = iota - 1
	stationAddress
	stationIPXE
	stationScript
	stationKernel
	stationImage
	stationCheckIn
)

// lastBoot are the stations of the last netboot.
func lastBoot(diary []inventory.Entry) []milestone {
	path := emptyPath()
	for _, e := range diary {
		at := station(&e)
		if at == stationNone {
			continue
		}
		if at == stationKernel && !path[at].At.IsZero() && fileOf(e.Text) != fileOf(path[at].Text) {
			at = stationImage // reached with the last of its files
			path[at].At = time.Time{}
		}
		if at <= stationIPXE && newBoot(path, at, e.Time) {
			path = emptyPath()
		}
		if !path[at].At.IsZero() && at != stationCheckIn {
			continue
		}
		path[at].At, path[at].Text, path[at].Bad = e.Time, e.Text, e.Level != ""
	}
	return path
}

func emptyPath() []milestone {
	return []milestone{{Word: "Address"}, {Word: "iPXE"}, {Word: "Script"}, {Word: "Kernel"}, {Word: "Image"}, {Word: "Checked in"}}
}

// newBoot reports whether an early station begins another boot: iPXE and stage-0 ask DHCP again within one.
func newBoot(path []milestone, at int, now time.Time) bool {
	latest := path[0].At
	for _, m := range path {
		if m.At.After(latest) {
			latest = m.At
		}
	}
	switch {
	case latest.IsZero():
		return false
	case at == stationIPXE:
		return !path[stationScript].At.IsZero()
	}
	return !path[stationCheckIn].At.IsZero() || now.Sub(latest) > 2*time.Minute
}

// fileOf is the beginning of a download's entry that names the file.
func fileOf(text string) string {
	name, _, _ := strings.Cut(text, " by HTTP")
	return name
}

// showLoading shows in the path what the machine loads now.
func showLoading(path []milestone, at inventory.Loading) {
	if len(path) <= stationImage || path[stationImage].Word != emptyPath()[stationImage].Word {
		return
	}
	m := &path[stationImage]
	if at.Part == inventory.PartKernel {
		m = &path[stationKernel]
		path[stationImage] = milestone{Word: path[stationImage].Word}
	}
	*m = milestone{Word: m.Word, Now: fmt.Sprintf("%d %%, %s of %s", at.Percent(), diskText(uint64(at.Bytes)), diskText(uint64(at.Total)))}
}

// station is where on the boot path an entry belongs.
func station(e *inventory.Entry) int {
	switch {
	case strings.HasPrefix(e.Kind, "dhcp."):
		return stationAddress
	case e.Kind == "tftp.file", e.Kind == "http.file" && strings.Contains(e.Text, ".efi"):
		return stationIPXE
	case e.Kind == "http.script":
		return stationScript
	case e.Kind == "http.file" && !strings.Contains(e.Text, "manifest.json"):
		return stationKernel
	case e.Kind == "checkin", e.Kind == "join":
		return stationCheckIn
	}
	return stationNone
}

// lastJob are the steps of the last job, as the pipeline notes them: "Step 4 of 11, build: …".
func lastJob(diary []inventory.Entry) []milestone {
	var out []milestone
	for _, e := range diary {
		if e.Kind != "job.step" {
			continue
		}
		var no, of int
		if _, err := fmt.Sscanf(e.Text, "Step %d of %d,", &no, &of); err != nil {
			if e.Level == "error" && len(out) > 0 {
				out[len(out)-1].Bad, out[len(out)-1].Text = true, e.Text
			}
			continue
		}
		_, text, _ := strings.Cut(e.Text, ", ")
		name, title, _ := strings.Cut(text, ": ")
		name, again := strings.CutSuffix(name, inventory.StepAgain)
		if again {
			title += " (again" + strings.TrimPrefix(inventory.StepAgain, ", again") + ")"
		}
		switch {
		case again && no > 0 && no <= len(out): // the same job, after the appliance's own restart
			out[no-1].At, out[no-1].Text = e.Time, title
			continue
		case no <= len(out): // another job
			out = out[:0]
		}
		out = append(out, milestone{Word: name, At: e.Time, Text: title, Bad: e.Level == "error"})
	}
	return out
}
