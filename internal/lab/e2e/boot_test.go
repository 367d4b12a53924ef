package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// serverFlags make the appliance the only DHCP server of a LAN.
func serverFlags(l *lab.LAN, more ...string) []string {
	return append([]string{"--dhcp", "server", "--dhcp-range", fmt.Sprintf("%s-%s", l.Addr(100), l.Addr(150)), "--dhcp-router", l.RouterAddr().String()}, more...)
}

// journey is one boot of a machine that shall end in state ready.
type journey struct {
	a       *appliance
	m       *lab.Machine
	powered time.Time
	checkin time.Time
}

// powerOn starts it; a machine that is on gets a power cut first.
func powerOn(t *testing.T, a *appliance, m *lab.Machine) *journey {
	t.Helper()
	m.PowerOff()
	j := &journey{a: a, m: m, powered: time.Now()}
	if err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	return j
}

// ready waits until the machine has checked in, demands that whoever asks the API 2 s later is told so, and logs the boot's
// milestones.
func (j *journey) ready(t *testing.T, limit time.Duration) host {
	t.Helper()
	return readyAll(t, limit, j)[0]
}

// readyAll is ready for machines that boot at the same time.
func readyAll(t *testing.T, limit time.Duration, all ...*journey) []host {
	t.Helper()
	hosts := make([]host, len(all))
	seen := make([]bool, len(all))
	eventually(t, limit, func() string {
		complaint := ""
		for i, j := range all {
			if seen[i] {
				continue
			}
			h, why := j.look(t)
			if why != "" {
				complaint = j.m.MAC() + ": " + why
				continue
			}
			hosts[i], seen[i] = *h, true
		}
		return complaint
	})
	for _, j := range all {
		have := j.timeline(t)
		for _, want := range []string{"http.script", "http.file", "checkin"} {
			if !have[want] {
				t.Errorf("%s: no entry of kind %s in the boot diary", j.m.MAC(), want)
			}
		}
		if !have["dhcp.offer"] && !have["dhcp.proxy-offer"] {
			t.Errorf("%s: no offer in the boot diary", j.m.MAC())
		}
	}
	return hosts
}

// look asks the API once whether the machine is ready since it was powered on.
func (j *journey) look(t *testing.T) (h *host, complaint string) {
	t.Helper()
	for _, e := range j.m.Events() {
		if e.Name == lab.EventPanic || e.Name == lab.EventNoBoot || e.Name == lab.EventExit {
			t.Fatalf("%s: %s after %.1fs: %s", j.m.MAC(), e.Name, e.Since.Seconds(), e.Line)
		}
	}
	asked := time.Now()
	h, err := j.a.host(j.m.MAC())
	switch {
	case err != nil:
		return nil, err.Error()
	case h == nil:
		return nil, "the machine is not in GET /api/v1/hosts"
	case h.State != "ready":
		if at := j.checkedIn(); !at.IsZero() && asked.Sub(at) > 2*time.Second {
			t.Errorf("%s: listed as %s %.1f s after its check-in, want ready after 2 s", j.m.MAC(), h.State, asked.Sub(at).Seconds())
		}
		return nil, "its state is " + h.State + " " + h.Error
	}
	if j.checkin = j.checkedIn(); j.checkin.IsZero() {
		return nil, "ready, but it has not checked in since power-on"
	}
	return h, ""
}

func (j *journey) checkedIn() time.Time {
	for _, e := range j.a.diary(j.m.MAC(), j.powered) {
		if e.Kind == "checkin" && e.Level == "" {
			return e.Time
		}
	}
	return time.Time{}
}

// timeline logs the milestones of console and boot diary together and returns the diary's kinds.
func (j *journey) timeline(t *testing.T) map[string]bool {
	t.Helper()
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	have := map[string]bool{}
	for _, e := range j.m.Events() {
		lines = append(lines, line{e.At, fmt.Sprintf("console  %-16s %.90s", e.Name, e.Line)})
	}
	for _, e := range j.a.diary(j.m.MAC(), j.powered) {
		have[e.Kind] = true
		lines = append(lines, line{e.Time, fmt.Sprintf("diary    %-16s %s", e.Kind, e.Text)})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, seconds after power-on:\n", j.m.MAC(), j.m.Config().Firmware)
	for _, l := range lines {
		fmt.Fprintf(&b, "  %7.2f  %s\n", l.at.Sub(j.powered).Seconds(), l.text)
	}
	t.Log(b.String())
	return have
}

// noLoop demands that iPXE did not chainload itself again and again: the card's
// own iPXE (BIOS) and ours are all there may be.
func noLoop(t *testing.T, m *lab.Machine) {
	t.Helper()
	n := 0
	for _, e := range m.Events() {
		if e.Name == lab.EventIPXE {
			n++
		}
	}
	most := 1
	if m.Config().Firmware == lab.BIOS {
		most = 2
	}
	if n < 1 || n > most {
		t.Errorf("%s: %d iPXE banners on the console, want 1 to %d", m.MAC(), n, most)
	}
}

// TestServerMode boots machines with BIOS and UEFI where the appliance is the DHCP server.
func TestServerMode(t *testing.T) {
	l := newLAN(t)
	a := startAppliance(t, l, serverFlags(l)...)
	bios := newMachine(t, l, lab.MachineConfig{Name: "bios", Port: 0, Disks: []lab.Disk{{Serial: "OS-0001"}, {Bus: "nvme", Serial: "DATA-0001", Size: 1 << 30}}})
	uefi := newMachine(t, l, lab.MachineConfig{Name: "uefi", Firmware: lab.UEFI, Port: 1, Disks: []lab.Disk{{Bus: "scsi", Serial: "OS-0002"}}})
	before := hashes(t, bios) + hashes(t, uefi)

	t.Run("a blank BIOS machine appears on the open page by itself", func(t *testing.T) {
		page := watchPage(t, a, bios.MAC())
		h := powerOn(t, a, bios).ready(t, 90*time.Second)
		noLoop(t, bios)
		if ip := oneLease(t, a, bios.MAC()); ip != h.IP {
			t.Errorf("leased %s, checked in from %s", ip, h.IP)
		}
		checkFacts(t, bios, h)
		page.seen(t)
	})
	t.Run("files come with their length and in ranges", func(t *testing.T) { checkFiles(t, a) })
	t.Run("a nonce belongs to the first host key that uses it", func(t *testing.T) { checkNonce(t, a) })
	t.Run("a UEFI machine boots although the appliance is killed in the middle", func(t *testing.T) {
		j := powerOn(t, a, uefi)
		// The kernel has been fetched, the initrd is on its way.
		_, err := uefi.WaitFor(within(t, 60*time.Second), "the kernel's download", func(e lab.Event) bool {
			return e.Name == lab.EventLoaded && strings.Contains(e.Line, "/kernel")
		})
		if err != nil {
			t.Fatal(err)
		}
		known := snapshot(t, a)
		a.crash()
		a.start()
		known.stillThere(t, a)
		j.ready(t, 150*time.Second)
		noLoop(t, uefi)
	})
	t.Run("killed afterwards, nothing acknowledged is lost and both machines report again", func(t *testing.T) {
		known := snapshot(t, a)
		a.crash()
		restarted := time.Now()
		a.start()
		known.stillThere(t, a)
		for _, m := range []*lab.Machine{bios, uefi} {
			eventually(t, 45*time.Second, func() string {
				h, err := a.host(m.MAC())
				if err != nil || h == nil {
					return fmt.Sprintf("%s: %v %v", m.MAC(), h, err)
				}
				if h.State != "ready" || !h.LastSeen.After(restarted) {
					return fmt.Sprintf("%s is %s, last heard %s", m.MAC(), h.State, h.LastSeen)
				}
				return ""
			})
		}
	})
	t.Run("power cycled and the appliance killed before the check-in, it is ready again and no disk was written", func(t *testing.T) {
		j := powerOn(t, a, bios)
		if _, err := bios.Wait(within(t, 60*time.Second), lab.EventInit); err != nil {
			t.Fatal(err)
		}
		a.crash()
		a.start()
		j.ready(t, 90*time.Second)
		bios.PowerOff()
		uefi.PowerOff()
		if after := hashes(t, bios) + hashes(t, uefi); after != before {
			t.Errorf("disks changed:\nbefore %s\nafter  %s", before, after)
		}
	})
}

// TestProxyMode boots machines where a home router hands out the addresses. They were announced, one by its serial
// number, which only its script tells, the other one by its UUID, both in other letters than the machine's.
func TestProxyMode(t *testing.T) {
	l := newLAN(t)
	if _, err := l.StartRouter(t.Context(), lab.RouterConfig{}); err != nil {
		t.Fatal(err)
	}
	a := startAppliance(t, l, "--dhcp", "proxy")
	var all []*journey
	var announced []host
	for i, fw := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		m := newMachine(t, l, lab.MachineConfig{Name: string(fw), Firmware: fw, Port: i, Disks: []lab.Disk{{}}})
		by := map[string]string{"name": "node" + fmt.Sprint(i), "serial": strings.ToLower(m.Config().Serial)}
		if fw == lab.UEFI {
			by = map[string]string{"name": "node" + fmt.Sprint(i), "uuid": strings.ToUpper(m.Config().UUID)}
		}
		var h host
		if _, err := a.call(http.MethodPost, "/hosts", by, &h); err != nil {
			t.Fatal(err)
		}
		announced = append(announced, h)
		all = append(all, powerOn(t, a, m)) // both at once: there are two processors
	}
	for i, h := range readyAll(t, 120*time.Second, all...) {
		noLoop(t, all[i].m)
		if h.ID != announced[i].ID {
			t.Errorf("%s: is host %s, announced was %s", h.MAC, h.ID, announced[i].ID)
		}
		if h.IP == "" {
			t.Errorf("%s: no address is known", h.MAC)
		}
	}
	if known, err := a.hosts(); err != nil || len(known) != len(all) {
		t.Errorf("hosts: got %d, %v, want the %d announced ones alone", len(known), err, len(all))
	}
	var leases struct{ Items []any }
	if _, err := a.call(http.MethodGet, "/leases", nil, &leases); err != nil {
		t.Error(err)
	}
	if len(leases.Items) != 0 {
		t.Errorf("a ProxyDHCP leased addresses: %v", leases.Items)
	}
	// The UEFI machine's packets are to be had: both servers' offers, the boot server's port, TFTP, and nobody else's.
	seen := a.packets(all[1].m.MAC())
	for _, want := range []string{"to 67", "to 4011", "from 4011", "TFTP 1", "TFTP 3", "TFTP 4", "from the router"} {
		if seen[want] == 0 {
			t.Errorf("no packet %q among those of the UEFI machine: %v", want, seen)
		}
	}
	if seen["of another"] > 0 {
		t.Errorf("packets of another machine are among them: %v", seen)
	}
}

// TestFixedFileName boots UEFI behind a router that knows one boot file for
// everybody, iPXE included: only autoexec.ipxe can end the circle.
func TestFixedFileName(t *testing.T) {
	l := newLAN(t)
	if _, err := l.StartRouter(t.Context(), lab.RouterConfig{BootFile: "snponly.efi", NextServer: l.ApplianceAddr()}); err != nil {
		t.Fatal(err)
	}
	a := startAppliance(t, l, "--dhcp", "off")
	m := newMachine(t, l, lab.MachineConfig{Name: "fixed", Firmware: lab.UEFI, Disks: []lab.Disk{{}}})
	j := powerOn(t, a, m)
	if _, err := m.Wait(within(t, 90*time.Second), lab.EventUserland); err != nil {
		t.Fatal(err)
	}
	noLoop(t, m)
	eventually(t, 30*time.Second, func() string {
		h, err := a.host(m.MAC())
		if err != nil || h == nil || h.State != "ready" {
			return fmt.Sprintf("%+v %v", h, err)
		}
		return ""
	})
	j.timeline(t)
}

// TestRouterPage boots BIOS and UEFI behind a router that has the lines of docs/router.md, our own DHCP off.
func TestRouterPage(t *testing.T) {
	full(t)
	page, err := os.ReadFile("../../../docs/router.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "### dnsmasq")
	_, rest, _ = strings.Cut(rest, "```\n")
	lines, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/router.md has no block for dnsmasq")
	}
	l := newLAN(t)
	lines = strings.ReplaceAll(lines, "192.168.1.2", l.ApplianceAddr().String())
	if _, err := l.StartRouter(t.Context(), lab.RouterConfig{Extra: strings.Split(strings.TrimSpace(lines), "\n")}); err != nil {
		t.Fatal(err)
	}
	a := startAppliance(t, l, "--dhcp", "off")
	var all []*journey
	for i, fw := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		all = append(all, powerOn(t, a, newMachine(t, l, lab.MachineConfig{Name: string(fw), Firmware: fw, Port: i, Disks: []lab.Disk{{}}})))
	}
	for _, j := range all {
		eventually(t, 120*time.Second, func() string {
			_, complaint := j.look(t)
			return complaint
		})
		noLoop(t, j.m)
	}
}

// checkFacts compares what the API says of a machine with what it is.
func checkFacts(t *testing.T, m *lab.Machine, h host) {
	t.Helper()
	c := m.Config()
	if h.UUID != c.UUID || h.Serial != c.Serial || h.Vendor != "Hatchery Lab" || h.Product != c.Product {
		t.Errorf("SMBIOS: got %s %s %s %s, want %s %s Hatchery Lab %s", h.UUID, h.Serial, h.Vendor, h.Product, c.UUID, c.Serial, c.Product)
	}
	if h.Arch != "x86_64" || h.Firmware != "bios" || h.CPU.Threads != 1 || h.MemoryBytes < 400<<20 || h.MemoryBytes > 512<<20 {
		t.Errorf("got arch %s, firmware %s, %d threads, %d bytes of memory", h.Arch, h.Firmware, h.CPU.Threads, h.MemoryBytes)
	}
	if len(h.NICs) != 1 || h.NICs[0].MAC != m.MAC() {
		t.Errorf("NICs: got %v, want %s alone", h.NICs, m.MAC())
	}
	var disks []string
	for _, d := range h.Disks {
		disks = append(disks, fmt.Sprintf("%s %s %d %d", d.ID, d.Serial, d.SizeBytes, len(d.Signatures)))
	}
	slices.Sort(disks)
	want := []string{fmt.Sprintf("nvme-QEMU_NVMe_Ctrl_DATA-0001 DATA-0001 %d 0", 1<<30), fmt.Sprintf("virtio-OS-0001 OS-0001 %d 0", 2<<30)}
	if !slices.Equal(disks, want) {
		t.Errorf("disks: got %q, want %q", disks, want)
	}
}

// checkFiles reads a boot file and the kernel as firmware and iPXE may.
func checkFiles(t *testing.T, a *appliance) {
	t.Helper()
	c := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DialContext: a.lan.Dialer(lab.Router), DisableKeepAlives: true}}
	for _, path := range []string{"/ipxe/snponly.efi", "/stage0/x86_64/kernel", "/stage0/x86_64/initrd"} {
		res, err := c.Head(a.bootURL(path))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || res.ContentLength < 100_000 || res.Header.Get("ETag") == "" {
			t.Errorf("HEAD %s: %s, Content-Length %d, ETag %q", path, res.Status, res.ContentLength, res.Header.Get("ETag"))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.bootURL(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", "bytes=1000-1999")
		part, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part.Body)
		_ = part.Body.Close()
		want := fmt.Sprintf("bytes 1000-1999/%d", res.ContentLength)
		if err != nil || part.StatusCode != http.StatusPartialContent || len(b) != 1000 || part.Header.Get("Content-Range") != want {
			t.Errorf("range of %s: %s, %d bytes, %q (%v); want 206, 1000 bytes, %q", path, part.Status, len(b), part.Header.Get("Content-Range"), err, want)
		}
	}
}

// known is what the appliance has acknowledged at some moment.
type known struct {
	states map[string]string // by host id
	leases map[string]string // by MAC
}

func snapshot(t *testing.T, a *appliance) known {
	t.Helper()
	k := known{states: map[string]string{}, leases: map[string]string{}}
	all, err := a.hosts()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		k.states[h.ID] = h.State
	}
	var list struct{ Items []struct{ MAC, IP string } }
	if _, err := a.call(http.MethodGet, "/leases", nil, &list); err != nil {
		t.Fatal(err)
	}
	for _, i := range list.Items {
		k.leases[i.MAC] = i.IP
	}
	if len(k.states) == 0 || len(k.leases) == 0 {
		t.Fatalf("nothing to lose: %+v", k)
	}
	return k
}

// stillThere demands that every host and lease of the snapshot is known after a crash.
func (k known) stillThere(t *testing.T, a *appliance) {
	t.Helper()
	now := snapshot(t, a)
	for id, state := range k.states {
		if now.states[id] == "" || state == "ready" && now.states[id] != "ready" {
			t.Errorf("host %s was %s before the crash and is %q after it", id, state, now.states[id])
		}
	}
	for mac, ip := range k.leases {
		if now.leases[mac] != ip {
			t.Errorf("lease of %s was %s before the crash and is %q after it", mac, ip, now.leases[mac])
		}
	}
}
