package browser

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// hive is what the stand-in for nix says of the roles.
func hive() inventory.Hive {
	osDisk := inventory.Slot{Class: inventory.ClassEphemeral, Select: inventory.Select{MinBytes: 16e9, Order: "smallest"}}
	data := inventory.Slot{Class: inventory.ClassPersistent, Select: inventory.Select{Order: "largest"}, Optional: true}
	disks := func() map[string]inventory.Slot { return map[string]inventory.Slot{"os": osDisk, "data": data} }
	return inventory.Hive{Revision: "3f1c9a7e5b2d4c6f8a0b1c2d3e4f5a6b7c8d9e0f", ReadAt: time.Now(), Roles: map[string]inventory.Role{
		"plain":  {Name: "plain", Description: "NixOS with SSH and nothing else", System: "x86_64-linux", Disks: disks()},
		"server": {Name: "server", Description: "k3s server", System: "x86_64-linux", Disks: map[string]inventory.Slot{"os": osDisk}, K3s: &inventory.K3s{Role: "server", Cluster: "home"}},
		"worker": {Name: "worker", Description: "k3s agent", System: "x86_64-linux", Disks: disks(), K3s: &inventory.K3s{Role: "agent", Cluster: "home"},
			AutoInstall: &inventory.AutoInstall{Match: inventory.Match{Vendor: "Supermicro*", MinMemoryBytes: 4 << 30}}},
	}}
}

// facts of the n-th machine of a site.
func facts(n int) inventory.Facts {
	return inventory.Facts{Arch: "x86_64", Firmware: "uefi", Vendor: "ACME", Product: "Mini PC 2000", UUID: fmt.Sprintf("5b2c7a1e-0001-4000-8000-0000000000%02x", n),
		Serial: fmt.Sprintf("SN-%d", n), CPU: inventory.CPU{Model: "Intel N100", Cores: 4, Threads: 8}, MemoryBytes: 8 << 30, Kernel: "6.12.0", Stage0: "26.05",
		Disks: []inventory.Disk{
			{ID: fmt.Sprintf("nvme-ACME_256_D%d0", n), Name: "nvme0n1", Serial: fmt.Sprintf("D%d0", n), Model: "ACME NVMe 256", SizeBytes: 256e9, Type: "ssd", Transport: "nvme", Signatures: []string{}},
			{ID: fmt.Sprintf("ata-BIG_4T_D%d1", n), Name: "sda", Serial: fmt.Sprintf("D%d1", n), Model: "BIG 4000", SizeBytes: 4e12, Type: "hdd", Transport: "sata", Signatures: []string{}},
		}}
}

// foreignFacts are facts of a machine whose disks hold somebody's data.
func foreignFacts(n int) inventory.Facts {
	f := facts(n)
	f.Product = "Mini PC 3000"
	f.Disks = []inventory.Disk{
		{ID: fmt.Sprintf("nvme-ACME_512_F%dA", n), Name: "nvme0n1", Serial: fmt.Sprintf("F%dA", n), Model: "ACME NVMe 512", SizeBytes: 512e9, Type: "ssd", Transport: "nvme", Signatures: []string{"gpt"}, Bootable: true,
			Partitions: []inventory.Partition{{Number: 1, SizeBytes: 1e9, FS: "vfat", Label: "EFI"}, {Number: 2, SizeBytes: 300e9, FS: "ntfs", FSLabel: "Windows"}}},
		{ID: fmt.Sprintf("ata-BIG_4T_F%dB", n), Name: "sda", Serial: fmt.Sprintf("F%dB", n), Model: "BIG 4000", SizeBytes: 4e12, Type: "hdd", Transport: "sata", Signatures: []string{"ext4"}},
	}
	return f
}

// installed writes machine n as one that was installed some hours ago: what happens on real disks is not played here.
func installed(n int, name, role string) func(tx *inventory.Tx) error {
	return func(tx *inventory.Tx) error {
		if err := tx.PutHive(hive()); err != nil {
			return err
		}
		began := time.Now().Add(-4 * time.Hour)
		f := facts(n)
		f.NICs = []inventory.NIC{{Name: "eth0", MAC: mac(n), Up: true}}
		ip := netip.AddrFrom4([4]byte{10, 83, 0, byte(n + 2)})
		c := inventory.Contact{MAC: mac(n), IP: ip, Arch: "x86_64", Firmware: "uefi"}
		if _, _, _, err := inventory.FetchScript(tx, c, inventory.DiscoveryAlways, "nonce", began); err != nil {
			return err
		}
		h, err := inventory.CheckIn(tx, inventory.Report{NonceHash: "nonce", HostKey: "ssh-ed25519 AAAA", BootID: "b1", Facts: f, From: ip}, began)
		if err != nil {
			return err
		}
		if h, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Name: &name, Role: &role}, "admin", false, began); err != nil {
			return err
		}
		for _, e := range []inventory.Event{inventory.StepStarted{Step: "install", No: 6, Of: 10}, inventory.WriteStarted{}, inventory.NetbootFlipped{},
			inventory.Verified{System: "/nix/store/0c5wz7b3-nixos-system-node1-26.05", Commit: "4b825dc642cb6eb9a060e54bf8d69288fbee4904", At: began.Add(9 * time.Minute)}} {
			if h, err = inventory.Apply(tx, h.ID, e); err != nil {
				return err
			}
		}
		j, err := tx.Job(h.JobID)
		if err != nil {
			return err
		}
		j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt, j.EndedAt, j.Wrote = inventory.JobDone, "verify", 10, 10, began, began.Add(9*time.Minute), true
		if _, err := tx.PutJob(j); err != nil {
			return err
		}
		h.InstalledKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1p"
		h.OwnedDisks = map[string]string{f.Disks[0].ID: "ephemeral", f.Disks[1].ID: "persistent"}
		h.Bound = map[string]string{"os": f.Disks[0].ID, "data": f.Disks[1].ID}
		h.LastSeen = time.Now().Add(-3 * time.Hour)
		_, err = tx.PutHost(h)
		return err
	}
}

// thousand writes more installed machines than a page shows, and one whose every text would like to be markup: past the checks
// at the edges, so that the pages stand alone.
func thousand(n int) func(tx *inventory.Tx) error {
	return func(tx *inventory.Tx) error {
		if err := tx.PutHive(hive()); err != nil {
			return err
		}
		for i := range n {
			f := facts(i)
			f.UUID, f.Serial = "", fmt.Sprintf("LARGE-%d", i)
			m := inventory.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
			h := inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: m, MACs: []inventory.MAC{m}, IP: netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}), Name: fmt.Sprintf("node%d", i),
				Role: []string{"worker", "server", "plain"}[i%3], State: inventory.StateInstalled, EverFlipped: true, Facts: &f, InstalledAt: time.Now().Add(-time.Duration(i) * 5 * time.Hour),
				LastSeen: time.Now().Add(-time.Duration(i*i%100000) * time.Second)}
			if i == 7 { // the one that can be picked
				h.State, h.EverFlipped, h.Name, h.Role = inventory.StateReady, false, "", ""
			}
			if _, err := tx.PutHost(h); err != nil {
				return err
			}
		}
		return evilStored(tx)
	}
}

const evilText = `"><img src=x onerror="document.title='owned'"><script>document.title='owned'</script>{{.}}'`

// evilFacts are facts of a machine that says the same hostile text wherever it may say anything.
func evilFacts(n int) inventory.Facts {
	f := facts(n)
	f.Vendor, f.Product, f.Serial, f.CPU.Model, f.Kernel, f.Stage0 = evilText, evilText, evilText, evilText, evilText, evilText
	f.NICs = []inventory.NIC{{Name: evilText, MAC: inventory.MAC{2, 9, 9, 9, 9, byte(n)}, Driver: evilText, Up: true, Addrs: []string{evilText}}}
	for i := range f.Disks {
		d := &f.Disks[i]
		d.Name, d.Serial, d.Model, d.Type, d.Transport, d.Signatures = evilText, evilText, evilText, evilText, evilText, []string{evilText}
		d.Partitions = []inventory.Partition{{Number: 1, SizeBytes: 1e9, Label: evilText, Type: evilText, FS: evilText, FSLabel: evilText}}
	}
	return f
}

func evilStored(tx *inventory.Tx) error {
	f := evilFacts(32)
	f.Arch, f.Firmware = evilText, evilText
	for i := range f.Disks {
		f.Disks[i].ID = fmt.Sprint("evil-", i, evilText)
	}
	h := inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: mac(32), MACs: []inventory.MAC{mac(32)}, Name: "evil-stored", Role: "plain", State: inventory.StateFailed, Facts: &f, Serial: evilText,
		Arch: evilText, Firmware: evilText, BlockedOn: evilText, Attention: evilText, Error: evilText, Hint: evilText, Step: evilText, LastSeen: time.Now(), ReportedAt: time.Now()}
	if _, err := tx.PutHost(h); err != nil {
		return err
	}
	for _, id := range []inventory.HostID{h.ID, ""} {
		if err := tx.Note(inventory.Entry{Time: time.Now(), HostID: id, Kind: "checkin", By: evilText, Text: evilText}); err != nil {
			return err
		}
	}
	return nil
}
