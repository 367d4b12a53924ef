package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// fakeSite is a small working stand-in for everything that the server asks others for.
type fakeSite struct {
	mu           sync.Mutex
	net          NetworkStatus
	media        MediaStatus
	reservations []Reservation
	logs         map[inventory.HostID][]LogLine
	jobLogs      map[inventory.JobID][]LogLine
	grew         chan struct{}
	ops          []Operation
	opErr        error
	woken        []inventory.MAC
	setup        SetupStatus
	keys         []OperatorKey
	restarts     int
	restored     []byte
	refreshed    int
	fleet        Fleet
	leased       int // how many leases there are; at least 1
}

func newFakeSite() *fakeSite {
	return &fakeSite{fleet: Fleet{Revision: "4b825dc642cb6eb9a060e54bf8d69288fbee4904", Hosts: []FleetHost{
		{Name: "node1", Role: "server", MAC: "52:54:00:12:34:04", System: "x86_64-linux", Address: "192.168.1.20", Static: true,
			Disks: []FleetDisk{{"data", "persistent", "ata-QEMU_HARDDISK_D41", "D41"}, {"os", "ephemeral", "ata-QEMU_HARDDISK_OS1", "OS1"}}, K3s: &FleetK3s{Role: "server", Cluster: "home", Init: true}},
		{Name: "node3", Role: "worker", MAC: "52:54:00:12:34:03", System: "x86_64-linux", Disks: []FleetDisk{{"os", "ephemeral", "nvme-ACME_512_S1", "S1"}},
			K3s: &FleetK3s{Role: "agent", Cluster: "home", ServerURL: "https://192.168.1.20:6443"}}}},
		logs: map[inventory.HostID][]LogLine{}, jobLogs: map[inventory.JobID][]LogLine{}, grew: make(chan struct{}),
		setup: SetupStatus{Now: DHCPChoice{Mode: "auto"}, Next: DHCPChoice{Mode: "auto"}, Proposed: DHCPChoice{Mode: "proxy", Range: "192.168.1.100-192.168.1.199"},
			Why:        "The DHCP server 192.168.1.1 answered on eth0, so your network hands out addresses already. Hatchery fits in beside it.",
			Interfaces: []NetInterface{{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}}, {Name: "eth1", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}},
		net: NetworkStatus{Mode: "proxy", Why: "Another DHCP server (192.168.1.1) hands out the addresses, so only boot answers are given.",
			Interfaces:   []NetInterface{{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}}},
			OtherServers: []DHCPServer{{IP: netip.MustParseAddr("192.168.1.1"), LastSeen: time.Now().Add(-time.Minute)}}},
		media: MediaStatus{IPXEDir: "/usr/lib/ipxe", Stage0Dir: "/var/lib/hatchery/stage0",
			IPXE: []BootFile{{Name: "undionly.kpxe", For: "BIOS", Size: 109e3, SHA256: "5d41402abc4b2a76b9719d911017c592"},
				{Name: "snponly.efi", For: "UEFI x64", Size: 285e3, SHA256: "7d793037a0760186574b0282f2f435e7"},
				{Name: "ipxe-arm64.efi", For: "UEFI arm64", Error: "no such file"}},
			Versions: []ImageVersion{{Arch: "x86_64", Version: "26.05-1", Digest: "9e107d9d372bb6826bd81d3542a419d6", Added: time.Now().Add(-72 * time.Hour), Current: true},
				{Arch: "x86_64", Version: "25.11-4", Digest: "e4d909c290d0fb1ca068ffaddf22cbd0", Added: time.Now().Add(-90 * 24 * time.Hour)}},
			Stage0: []Image{{Arch: "x86_64", Version: "26.05-1", Size: 412e6, Built: time.Now().Add(-72 * time.Hour), SHA256: "9e107d9d372bb6826bd81d3542a419d6"}}}}
}

func (f *fakeSite) config(c *Config) {
	c.Network, c.Leases, c.Media, c.Logs, c.Operator, c.Hive = f, f, f, f, f, f
	c.Setup, c.Operators, c.Restore, c.Images = f, f, f.restore, f
	c.SelfCheck = func() []Warning {
		if len(f.Media().Stage0) > 0 {
			return nil
		}
		return []Warning{{Text: "There is no stage-0 image yet, so machines get as far as iPXE and no further.",
			Hint: "Build it with nix build .#stage0 and put it in with hatchery stage0 add ./result."}}
	}
	c.Wake = func(_ context.Context, m inventory.MAC) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.woken = append(f.woken, m)
		return nil
	}
}

func (f *fakeSite) Setup() SetupStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.setup
}

func (f *fakeSite) SetDHCP(c DHCPChoice) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Mode == "server" && c.Range == "" {
		return fmt.Errorf("a DHCP server needs the first and last address to hand out: %w", inventory.ErrInvalid)
	}
	f.setup.Next, f.setup.Pending = c, true
	return nil
}

func (f *fakeSite) Restart() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarts++
	f.setup.Now, f.setup.Pending = f.setup.Next, false
	return nil
}

func (f *fakeSite) Keys() ([]OperatorKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.keys), nil
}

func (f *fakeSite) AddKeys(_ context.Context, text string) (added []OperatorKey, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for line := range strings.Lines(text) {
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return nil, fmt.Errorf("%q is no public key: %w", clip(line, 40), inventory.ErrInvalid)
		}
		k := OperatorKey{ID: fmt.Sprintf("%016x", len(f.keys)+1), Key: line, Comment: parts[2], Fingerprint: "SHA256:" + parts[1]}
		f.keys, added = append(f.keys, k), append(added, k)
	}
	return added, nil
}

func (f *fakeSite) RemoveKey(_ context.Context, id string) (OperatorKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.keys, func(k OperatorKey) bool { return k.ID == id })
	if i < 0 {
		return OperatorKey{}, fmt.Errorf("SSH key %q is %w", id, inventory.ErrNotFound)
	}
	k := f.keys[i]
	f.keys = slices.Delete(f.keys, i, i+1)
	return k, nil
}

func (f *fakeSite) restore(r io.Reader, sure func() error) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("backup")) {
		return fmt.Errorf("this is no whole backup of Hatchery, so nothing was changed: %w", inventory.ErrInvalid)
	}
	f.mu.Lock()
	f.restored = b
	f.mu.Unlock()
	return sure()
}

func (f *fakeSite) Network() NetworkStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.net
}

func (f *fakeSite) Media() MediaStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.media
}

func (f *fakeSite) UseImage(arch, digest string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	is := func(v ImageVersion) bool { return v.Arch == arch && v.Digest == digest }
	if !slices.ContainsFunc(f.media.Versions, is) {
		return fmt.Errorf("stage-0 image %s for %s is %w: it is kept no longer; nothing was changed", clip(digest, 64), arch, inventory.ErrNotFound)
	}
	f.media.Versions = slices.Clone(f.media.Versions)
	for i, v := range f.media.Versions {
		f.media.Versions[i].Current = is(v) || v.Current && v.Arch != arch
	}
	return nil
}

func (f *fakeSite) Leases(after netip.Addr, limit int) (page []Lease, next netip.Addr, err error) {
	for i := range max(f.leased, 1) {
		l := Lease{IP: netip.AddrFrom4([4]byte{192, 168, 1, byte(101 + i)}), MAC: mac(byte(1 + i)), Hostname: `<img src=x onerror=alert(1)>`, Expires: time.Now().Add(time.Hour)}
		switch {
		case after.IsValid() && l.IP.Compare(after) <= 0:
		case len(page) == limit:
			return page, page[limit-1].IP, nil
		default:
			page = append(page, l)
		}
	}
	return page, next, nil
}

func (f *fakeSite) Reservations(after inventory.MAC, limit int) (page []Reservation, next inventory.MAC, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.SortedFunc(slices.Values(f.reservations), func(a, b Reservation) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	for _, r := range all {
		switch {
		case bytes.Compare(r.MAC[:], after[:]) <= 0:
		case len(page) == limit:
			return page, page[limit-1].MAC, nil
		default:
			page = append(page, r)
		}
	}
	return page, next, nil
}

func (f *fakeSite) Reservation(m inventory.MAC) (Reservation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.reservations, func(r Reservation) bool { return r.MAC == m })
	if i < 0 {
		return Reservation{}, fmt.Errorf("a reservation for %s is %w", m, inventory.ErrNotFound)
	}
	return f.reservations[i], nil
}

func (f *fakeSite) SetReservation(_ context.Context, r Reservation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.reservations {
		if o.IP == r.IP && o.MAC != r.MAC {
			return fmt.Errorf("address %s is reserved for %s already: %w", r.IP, o.MAC, inventory.ErrConflict)
		}
	}
	if !r.IP.IsValid() && !slices.ContainsFunc(f.reservations, func(o Reservation) bool { return o.MAC == r.MAC }) {
		return fmt.Errorf("a reservation for %s is %w", r.MAC, inventory.ErrNotFound)
	}
	f.reservations = slices.DeleteFunc(f.reservations, func(o Reservation) bool { return o.MAC == r.MAC })
	if r.IP.IsValid() {
		f.reservations = append(f.reservations, r)
	}
	return nil
}

func (f *fakeSite) Hardware(_ context.Context, name string) (json.RawMessage, error) {
	if name != "web-1" {
		return nil, fmt.Errorf("hardware report of %s: %w", name, fs.ErrNotExist)
	}
	return json.RawMessage(`{"version":1,"hardware":{"disk":[]}}`), nil
}

func (f *fakeSite) Location() string { return "/var/lib/hatchery/hive" }

func (f *fakeSite) Summary(ctx context.Context) (Fleet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fleet, ctx.Err()
}

func (f *fakeSite) Refresh(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refreshed++
	return nil
}

func (f *fakeSite) Operate(_ context.Context, op Operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, op)
	return f.opErr
}

// say adds a line to a host's log.
func (f *fakeSite) say(id inventory.HostID, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs[id] = append(f.logs[id], LogLine{ID: uint64(len(f.logs[id]) + 1), Time: time.Now(), Text: fmt.Sprintf(format, args...)})
	close(f.grew)
	f.grew = make(chan struct{})
}

// warn ends a host's log with a warning and an error.
func (f *fakeSite) warn(id inventory.HostID) {
	f.say(id, "warning: substituter is not reachable")
	f.say(id, "error: one path could not be copied; it is tried again")
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.logs[id]
	l[len(l)-2].Level, l[len(l)-1].Level = "warn", "error"
}

func (f *fakeSite) after(id inventory.HostID, after uint64) ([]LogLine, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.logs[id]
	return slices.Clone(l[min(int(after), len(l)):]), f.grew
}

func (f *fakeSite) Tail(id inventory.HostID, n int) ([]LogLine, error) {
	l, _ := f.after(id, 0)
	return l[max(0, len(l)-n):], nil
}

// Job gives the lines of the host whose last job it is.
func (f *fakeSite) Job(id inventory.JobID, fn func(LogLine) error) error {
	f.mu.Lock()
	lines := slices.Clone(f.jobLogs[id])
	f.mu.Unlock()
	for _, l := range lines {
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeSite) Follow(ctx context.Context, id inventory.HostID, after uint64, fn func(LogLine) error) error {
	for {
		lines, grew := f.after(id, after)
		for _, l := range lines {
			if err := fn(l); err != nil {
				return err
			}
			after = l.ID
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grew:
		}
	}
}

// testHive is a hive with two roles.
func testHive() inventory.Hive {
	return inventory.Hive{Revision: "3f1c9a7e5b2d4c6f8a0b1c2d3e4f5a6b7c8d9e0f", ReadAt: time.Now().Add(-5 * time.Minute), Roles: map[string]inventory.Role{
		"worker": {Name: "worker", Description: "k3s agent", System: "x86_64-linux",
			Disks: map[string]inventory.Slot{
				"os":   {Class: inventory.ClassEphemeral, Select: inventory.Select{MinBytes: 16e9, Order: "smallest"}},
				"data": {Class: inventory.ClassPersistent, Select: inventory.Select{Order: "largest"}, Optional: true}},
			K3s:         &inventory.K3s{Role: "agent", Cluster: "home"},
			AutoInstall: &inventory.AutoInstall{Match: inventory.Match{Vendor: "ACME*", MinMemoryBytes: 4 << 30}}},
		"server": {Name: "server", Description: "k3s server", System: "x86_64-linux",
			Disks: map[string]inventory.Slot{"os": {Class: inventory.ClassEphemeral, Select: inventory.Select{MinBytes: 16e9}}},
			K3s:   &inventory.K3s{Role: "server", Cluster: "home"}},
	}}
}

func (b *box) hive() {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error { return tx.PutHive(testHive()) })
}

// journey writes the diary of a netboot that went well.
func (b *box) journey(h inventory.Host, began time.Time) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		for _, e := range []inventory.Entry{
			{Time: began, Kind: "dhcp.discover", By: "firmware", Text: "Asked for an address and a boot file (UEFI x64)."},
			{Time: began.Add(20 * time.Millisecond), Kind: "dhcp.proxy-offer", By: "appliance", Text: "Offered boot file snponly.efi."},
			{Time: began.Add(4 * time.Second), Kind: "tftp.file", By: "firmware", Text: "Loaded snponly.efi by TFTP.", Bytes: 285e3, Duration: 900 * time.Millisecond},
			{Time: began.Add(6 * time.Second), Kind: "dhcp.discover", By: "ipxe", Text: "iPXE asked for its script."},
			{Time: began.Add(7 * time.Second), Kind: "http.script", By: "ipxe", Text: "Fetched its script: stage-0, since the machine never checked in."},
			{Time: began.Add(8 * time.Second), Kind: "http.file", By: "ipxe", Text: "Loaded the kernel.", Bytes: 12e6, Duration: 300 * time.Millisecond},
			{Time: began.Add(14 * time.Second), Kind: "http.file", By: "ipxe", Text: "Loaded the initrd.", Bytes: 400e6, Duration: 6 * time.Second},
			{Time: began.Add(41 * time.Second), Kind: "checkin", By: "stage-0", Text: "Checked in with its hardware."},
		} {
			e.HostID = h.ID
			if err := tx.Note(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// put changes a host directly, for states that are far along the journey.
func (b *box) put(id inventory.HostID, fn func(h *inventory.Host)) (h inventory.Host) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) (err error) {
		if h, err = tx.Host(id); err != nil {
			return err
		}
		fn(&h)
		h, err = tx.PutHost(h)
		return err
	})
	return h
}

// assignRole gives a host a name and role and returns it.
func (b *box) assignRole(h inventory.Host, name, role string) inventory.Host {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) (err error) {
		h, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Name: &name, Role: &role}, "admin", false, time.Now())
		return err
	})
	return h
}

func (b *box) events(id inventory.HostID, evs ...inventory.Event) (h inventory.Host) {
	b.t.Helper()
	for _, e := range evs {
		b.update(func(tx *inventory.Tx) (err error) {
			h, err = inventory.Apply(tx, id, e)
			return err
		})
	}
	return h
}

// putJob changes a host's last job directly, as the pipeline would.
func (b *box) putJob(id inventory.HostID, fn func(j *inventory.Job)) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		h, err := tx.Host(id)
		if err != nil {
			return err
		}
		j, err := tx.Job(h.JobID)
		if err != nil {
			return err
		}
		fn(&j)
		_, err = tx.PutJob(j)
		return err
	})
}

// foreignFacts are facts of a machine whose larger disk holds somebody's data.
func foreignFacts() inventory.Facts {
	f := facts()
	f.UUID, f.Serial, f.Vendor, f.Product = "5b2c7a1e-0002-4000-8000-000000000002", "SN-2", "ACME", "Mini PC 3000"
	f.Disks = []inventory.Disk{
		{ID: "nvme-ACME_512_S1", Name: "nvme0n1", Serial: "S1", Model: "ACME NVMe 512", SizeBytes: 512e9, Type: "ssd", Transport: "nvme", Signatures: []string{"gpt"}, Bootable: true,
			Partitions: []inventory.Partition{{Number: 1, SizeBytes: 1e9, FS: "vfat", Label: "EFI"}, {Number: 2, SizeBytes: 300e9, FS: "ntfs", FSLabel: "Windows"}}},
		{ID: "ata-BIG_4T_S2", Name: "sda", Serial: "S2", Model: "BIG 4000", SizeBytes: 4e12, Type: "hdd", Transport: "sata", Signatures: []string{"ext4"}},
	}
	return f
}

// seed fills the inventory with a machine of every state.
func (b *box) seed(site *fakeSite) {
	b.t.Helper()
	b.hive()
	began := time.Now().Add(-50 * time.Second)
	f := func(n int, vendor string) inventory.Facts {
		f := facts()
		f.UUID, f.Serial, f.Vendor = fmt.Sprintf("5b2c7a1e-0001-4000-8000-0000000000%02x", n), fmt.Sprintf("SN-%d", n), vendor
		for i := range f.Disks {
			f.Disks[i].ID, f.Disks[i].Serial = fmt.Sprintf("virtio-D%d%d", n, i), fmt.Sprintf("D%d%d", n, i)
		}
		return f
	}
	ready := b.checkIn(1, f(1, "QEMU"))
	b.journey(ready, began)
	foreign := b.checkIn(2, foreignFacts())
	b.assignRole(foreign, "mini", "worker")
	b.events(foreign.ID, inventory.Blocked{On: "Disk BIG 4000 holds data that this appliance did not put there. Confirm the plan."})
	installing := b.checkIn(3, f(3, "QEMU"))
	b.assignRole(installing, "node3", "worker")
	b.journey(installing, began.Add(-3*time.Minute))
	b.events(installing.ID, inventory.StepStarted{Step: "copying system, 1.2 of 2.9 GiB", No: 6, Of: 11})
	b.putJob(installing.ID, func(j *inventory.Job) {
		j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt, j.Wrote = inventory.JobRunning, "copying system, 1.2 of 2.9 GiB", 6, 11, began.Add(-2*time.Minute), true
	})
	for i := range 30 {
		site.say(installing.ID, "copying path '/nix/store/%032d-package-%d' to 'ssh-ng://root@10.0.0.3'...", i*7919, i)
	}
	site.warn(installing.ID)
	installed := b.checkIn(4, f(4, "QEMU"))
	b.assignRole(installed, "node1", "worker")
	b.events(installed.ID, inventory.StepStarted{Step: "copy", No: 6, Of: 11}, inventory.WriteStarted{}, inventory.NetbootFlipped{},
		inventory.Verified{System: "/nix/store/0c5wz7b3-nixos-system-node1-26.05", Commit: "4b825dc642cb6eb9a060e54bf8d69288fbee4904", At: time.Now()})
	b.putJob(installed.ID, func(j *inventory.Job) {
		j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt, j.EndedAt, j.Wrote = inventory.JobDone, "verify", 11, 11, began.Add(-9*time.Minute), began, true
	})
	b.put(installed.ID, func(h *inventory.Host) {
		h.InstalledKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1p"
		h.OwnedDisks = map[string]string{"virtio-D40": "ephemeral", "virtio-D41": "persistent"}
		h.Bound = map[string]string{"os": "virtio-D40", "data": "virtio-D41"}
		h.LastSeen, h.Behind = time.Now().Add(-3*time.Hour), 2
	})
	failed := b.checkIn(5, f(5, "QEMU"))
	b.assignRole(failed, "node2", "server")
	b.events(failed.ID, inventory.StepStarted{Step: "build", No: 4, Of: 11}, inventory.StepFailed{Step: "build",
		Cause: "The system could not be built: attribute 'services.k3z' does not exist.", Hint: "Mend roles/server.nix in the hive, then retry."})
	b.putJob(failed.ID, func(j *inventory.Job) {
		j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt, j.EndedAt = inventory.JobFailed, "build", 4, 11, began.Add(-time.Minute), began
		j.Error, j.Hint = "The system could not be built: attribute 'services.k3z' does not exist.", "Mend roles/server.nix in the hive, then retry."
		j.Past = []inventory.Attempt{{No: 1, By: "admin", Role: "server", Step: "preflight", Error: "The machine did not answer over SSH.", EndedAt: began.Add(-2 * time.Minute)}}
		site.jobLogs[j.ID] = []LogLine{{ID: 1, Time: began, Text: "building the system"}, {ID: 2, Time: began, Level: "error", Text: "error: attribute 'services.k3z' does not exist"}}
	})
	b.discover(6)
	ignored := b.discover(7)
	b.events(ignored.ID, inventory.IgnoreAsked{By: "token alex", At: time.Now()})
	b.update(func(tx *inventory.Tx) error {
		_, err := inventory.Expect(tx, inventory.Announce{MAC: mac(8), Name: "nas", Role: "server"}, time.Now())
		return err
	})
	b.put(b.checkIn(9, f(9, "QEMU")).ID, func(h *inventory.Host) {
		h.Attention = "A second machine checked in as this host while the first one is still running. Check which one it is, then approve it."
	})
}

// fakeCare finds one thing and writes words instead of archives.
type fakeCare struct{}

func (fakeCare) Doctor(context.Context) ([]Check, error) {
	return []Check{{Name: "nix", State: CheckFail, Text: "There is no nix.", Hint: "Install it."}}, nil
}

func (fakeCare) Support(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "bundle")
	return err
}

func (fakeCare) Packets(w io.Writer, macs []inventory.MAC, ips []netip.Addr) error {
	_, err := fmt.Fprint(w, "packets of ", macs, ips)
	return err
}
