package main

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
)

func TestFactsOfARecordedMachine(t *testing.T) {
	t.Parallel()
	r := testMachine(t)
	got, err := newMachine(r.root).facts(context.Background(), bootWords{Stage0: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := inventory.ParseMAC("52:54:00:00:00:01")
	want := inventory.Facts{
		Arch: got.Arch, Firmware: "uefi", UUID: "4c4c4544-0042-3510-8053-b4c04f564433", Serial: "SN1", Vendor: "QEMU", Product: "Standard PC",
		CPU: inventory.CPU{Model: "Test CPU", Sockets: 1, Cores: 1, Threads: 2}, MemoryBytes: 2 << 20, Kernel: "6.12.48-test", Stage0: "1.0",
		NICs: []inventory.NIC{{Name: "eth0", MAC: mac, Driver: "virtio_net", SpeedMbps: 1000, Up: true}},
		Disks: []inventory.Disk{
			{ID: "nvme-Fast_Disk_NV1", ByID: []string{"nvme-Fast_Disk_NV1", "nvme-eui.0025385b21404a5d"}, Name: "nvme0n1", Serial: "NV1", WWN: "eui.0025385b21404a5d",
				Model: "Fast Disk", SizeBytes: 1 << 20, Type: "ssd", Transport: "nvme", Signatures: []string{}},
			{ID: "usb-Stick_STICK1", ByID: []string{"usb-Stick_STICK1"}, Name: "sda", Serial: "STICK1", WWN: "0x5000", Model: "Stick", SizeBytes: 1 << 20,
				Type: "ssd", Transport: "usb", Removable: true, Boot: true, Signatures: []string{}},
			{ID: "virtio-AAA", ByID: []string{"virtio-AAA"}, Path: "pci-0000:00:04.0", Name: "vda", Serial: "AAA", SizeBytes: 4 << 20, Type: "virtual", Transport: "virtio",
				Signatures: []string{"gpt"}, Bootable: true, Partitions: []inventory.Partition{
					{Number: 1, SizeBytes: 1 << 20, Label: "ESP", Type: typeESP, FS: "vfat", FSLabel: "BOOT", UUID: "00000001-0001-0000-0000-000000000000"},
					{Number: 2, SizeBytes: 2 << 20, Label: "root", Type: "0fc63daf-8483-4772-0000-000000000000", FS: "ext4", FSLabel: "nixos", UUID: "00000002-0001-0000-0000-000000000000"},
				}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestUtilLinuxHasTheLastWord(t *testing.T) {
	t.Parallel()
	m := newMachine(testMachine(t).root)
	m.exec = func(_ context.Context, name string, args ...string) ([]byte, error) {
		dev := args[len(args)-1]
		switch {
		case name == "wipefs" && dev == "/dev/vda":
			return []byte(`{"signatures":[{"device":"vda","offset":"0x200","type":"gpt"},{"device":"vda","type":"gpt"},{"device":"vda","type":"PMBR"}]}`), nil
		case name == "wipefs":
			return nil, nil
		case name == "blkid" && dev == "/dev/vda2":
			return []byte("DEVNAME=/dev/vda2\nLABEL=my\\ root\nTYPE=btrfs\n"), nil
		}
		return nil, errors.New("exit status 2")
	}
	for _, d := range m.disks(context.Background()) {
		if d.Name != "vda" {
			if len(d.Signatures) != 0 {
				t.Errorf("%s: %v", d.Name, d.Signatures)
			}
			continue
		}
		if d := cmp.Diff([]string{"gpt"}, d.Signatures); d != "" {
			t.Error(d)
		}
		if p := d.Partitions[1]; p.FS != "btrfs" || p.FSLabel != "my root" {
			t.Errorf("partition 2: %+v", p)
		}
		if p := d.Partitions[0]; p.FS != "vfat" {
			t.Errorf("partition 1 without blkid's word: %+v", p)
		}
	}
}

func TestParseCmdline(t *testing.T) {
	t.Parallel()
	const nonce = "00112233445566778899aabbccddeeff"
	mac, _ := inventory.ParseMAC("52:54:00:00:00:01")
	for _, c := range []struct {
		name, line string
		want       bootWords
		ok         bool
	}{
		{"a netboot", "quiet hatchery.url=http://10.0.0.1:8080/ hatchery.nonce=" + nonce + " BOOTIF=01-52-54-00-00-00-01 hatchery.stage0=1.0",
			bootWords{"http://10.0.0.1:8080", nonce, mac, "1.0"}, true},
		{"IPv6", "hatchery.url=http://[fd00::1]:8080 hatchery.nonce=" + nonce, bootWords{URL: "http://[fd00::1]:8080", Nonce: nonce}, true},
		{"another system", "quiet splash", bootWords{}, false},
		{"a nonce that is none", "hatchery.url=http://10.0.0.1:8080 hatchery.nonce=xyz", bootWords{}, false},
		{"a URL of a file", "hatchery.url=file:///etc/passwd hatchery.nonce=" + nonce, bootWords{}, false},
		{"a URL with a user", "hatchery.url=http://a:b@10.0.0.1 hatchery.nonce=" + nonce, bootWords{}, false},
	} {
		got, err := parseCmdline(c.line)
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v", c.name, err)
		}
		if c.ok && got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestPickID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"model and serial before a bare number", []string{"wwn-0x5000", "ata-Disk_S1"}, "ata-Disk_S1"},
		{"NVMe's name before its EUI", []string{"nvme-eui.00", "nvme-Disk_S1_1", "nvme-Disk_S1"}, "nvme-Disk_S1"},
		{"a bare number before nothing", []string{"wwn-0x5000"}, "wwn-0x5000"},
		{"an unknown kind", []string{"weird-1"}, "weird-1"},
		{"none", nil, ""},
	} {
		if got := pickID(c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
