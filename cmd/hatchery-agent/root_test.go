package main

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/ssh"
)

const testBootID = "11111111-2222-4333-8444-555555555555"

// tree is a recorded machine: files below a folder that stands for /.
type tree struct {
	t    testing.TB
	root string
}

func (r tree) file(name, content string) {
	r.t.Helper()
	p := filepath.Join(r.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r tree) link(target, name string) {
	r.t.Helper()
	p := filepath.Join(r.root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Symlink(target, p); err != nil {
		r.t.Fatal(err)
	}
}

// testMachine is a small server as Linux shows it: a virtio disk with an ESP and an ext4
// partition, a blank NVMe disk, a USB stick that stage-0 runs from, one interface and a
// bridge, a DVD drive and a loop device.
func testMachine(t testing.TB) tree {
	t.Helper()
	r := tree{t, t.TempDir()}
	r.file("proc/sys/kernel/random/boot_id", testBootID+"\n")
	r.file("proc/sys/kernel/osrelease", "6.12.48-test\n")
	r.file("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 12 kB\n")
	r.file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Test CPU\n\nprocessor\t: 1\nmodel name\t: Test CPU\n")
	for _, n := range []string{"0", "1"} {
		r.file("sys/devices/system/cpu/cpu"+n+"/topology/physical_package_id", "0\n")
		r.file("sys/devices/system/cpu/cpu"+n+"/topology/core_id", "0\n")
	}
	r.file("proc/self/mounts", "rootfs / rootfs rw 0 0\n/dev/sda1 /iso iso9660 ro 0 0\n")
	for k, v := range map[string]string{"sys_vendor": "QEMU", "product_name": "Standard PC", "product_serial": "SN1", "product_uuid": "4C4C4544-0042-3510-8053-B4C04F564433"} {
		r.file("sys/class/dmi/id/"+k, v+"\n")
	}
	r.file("sys/firmware/efi/fw_platform_size", "64\n")
	nic := "sys/devices/pci0000:00/0000:00:03.0/virtio0"
	r.file(nic+"/net/eth0/address", "52:54:00:00:00:01\n")
	r.file(nic+"/net/eth0/carrier", "1\n")
	r.file(nic+"/net/eth0/speed", "1000\n")
	r.link("../../../virtio0", nic+"/net/eth0/device")
	r.link("../../../../bus/virtio/drivers/virtio_net", nic+"/driver")
	r.link("../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth0", "sys/class/net/eth0")
	r.file("sys/class/net/br0/address", "02:00:00:00:00:01\n")
	r.disk("pci0000:00/0000:00:04.0/virtio1/block/vda", map[string]string{"serial": "AAA", "dev": "253:0"}, gptDisk(t))
	r.disk("pci0000:00/0000:00:05.0/nvme/nvme0/nvme0n1", map[string]string{"wwid": "eui.0025385b21404a5d", "device/model": "Fast Disk  ", "device/serial": "NV1"}, make([]byte, 1<<20))
	r.disk("pci0000:00/0000:00:06.0/usb1/1-1/host2/target2:0:0/2:0:0:0/block/sda", map[string]string{"removable": "1", "sda1/partition": "1", "dev": "8:0", "device/model": "Stick"}, make([]byte, 1<<20))
	r.file("run/udev/data/b8:0", "E:ID_SERIAL_SHORT=STICK1\nE:ID_WWN=0x5000\n")
	r.disk("virtual/block/loop0", nil, nil)
	r.disk("pci0000:00/0000:00:01.1/ata2/host1/block/sr0", nil, nil)
	r.link("../../vda", "dev/disk/by-id/virtio-AAA")
	r.link("../../vda1", "dev/disk/by-id/virtio-AAA-part1")
	r.link("../../nvme0n1", "dev/disk/by-id/nvme-eui.0025385b21404a5d")
	r.link("../../nvme0n1", "dev/disk/by-id/nvme-Fast_Disk_NV1")
	r.link("../../sda", "dev/disk/by-id/usb-Stick_STICK1")
	r.link("../../vda", "dev/disk/by-path/virtio-pci-0000:00:04.0")
	r.link("../../vda", "dev/disk/by-path/pci-0000:00:04.0")
	r.link("../../vda1", "dev/disk/by-path/pci-0000:00:04.0-part1")
	r.link("../../sda", "dev/disk/by-path/a name that udev would never make")
	return r
}

// disk makes a block device; its content is a plain file in dev.
func (r tree) disk(place string, attrs map[string]string, content []byte) {
	r.t.Helper()
	name := filepath.Base(place)
	r.file("sys/devices/"+place+"/size", itoa(len(content)/512)+"\n")
	for k, v := range attrs {
		r.file("sys/devices/"+place+"/"+k, v+"\n")
	}
	r.link("../devices/"+place, "sys/block/"+name)
	r.file("dev/"+name, string(content))
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func guidBytes(first uint32, rest ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, first)
	return append(b, append(rest, make([]byte, 12-len(rest))...)...)
}

// gptDisk is a disk of 4 MiB with an ESP (FAT) and a Linux partition (ext4).
func gptDisk(t testing.TB) []byte {
	t.Helper()
	d := make([]byte, 4<<20)
	d[510], d[511] = 0x55, 0xaa
	d[450] = 0xee
	h := d[512:]
	copy(h, "EFI PART")
	binary.LittleEndian.PutUint64(h[72:], 2)
	binary.LittleEndian.PutUint32(h[80:], 128)
	binary.LittleEndian.PutUint32(h[84:], 128)
	entry := func(i int, typ []byte, first, last uint64, name string) {
		e := d[1024+128*i:]
		copy(e, typ)
		copy(e[16:], guidBytes(uint32(i+1), 1))
		binary.LittleEndian.PutUint64(e[32:], first)
		binary.LittleEndian.PutUint64(e[40:], last)
		for k, u := range utf16.Encode([]rune(name)) {
			binary.LittleEndian.PutUint16(e[56+2*k:], u)
		}
	}
	entry(0, guidBytes(0xc12a7328, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b), 2048, 4095, "ESP")
	entry(1, guidBytes(0x0fc63daf, 0x83, 0x84, 0x72, 0x47), 4096, 8191, "root")
	fat := d[2048*512:]
	copy(fat[82:], "FAT32   ")
	copy(fat[71:], "BOOT       ")
	fat[510], fat[511] = 0x55, 0xaa
	sb := d[4096*512+1024:]
	binary.LittleEndian.PutUint16(sb[0x38:], 0xef53)
	binary.LittleEndian.PutUint32(sb[0x60:], 0x40) // extents
	copy(sb[120:], "nixos")
	return d
}

func (r tree) hostKey() ssh.Signer {
	r.t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		r.t.Fatal(err)
	}
	r.file("etc/ssh/ssh_host_ed25519_key", string(pem.EncodeToMemory(block)))
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}
