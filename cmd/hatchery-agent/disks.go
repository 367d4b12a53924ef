package main

import (
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// notDisks are the kernel's block devices that are no disk of the machine.
var notDisks = []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock", "drbd", "rbd"}

// disks lists the machine's whole disks and what is on them.
func (m machine) disks(ctx context.Context) []inventory.Disk {
	names, ports := m.links("dev/disk/by-id"), m.links("dev/disk/by-path")
	boot := m.bootDisks()
	var out []inventory.Disk
	for _, name := range m.diskNames() {
		if len(out) == inventory.MaxDisks {
			break
		}
		d := m.identify(name, names[name])
		d.Path = pickPort(ports[name])
		d.Boot = slices.Contains(boot, name)
		m.contents(ctx, &d)
		out = append(out, d)
	}
	return out
}

// diskNames are the kernel's names of the whole disks, sorted.
func (m machine) diskNames() []string {
	var out []string
	for _, name := range m.list("sys/block") {
		skip := slices.ContainsFunc(notDisks, func(p string) bool { return strings.HasPrefix(name, p) }) ||
			strings.HasPrefix(name, "mmcblk") && (strings.Contains(name, "boot") || strings.Contains(name, "rpmb")) ||
			m.text("sys/block/"+name+"/hidden") == "1" || // a path of an NVMe multipath disk
			m.number("sys/block/"+name+"/size") == 0 // an empty card reader
		if !skip {
			out = append(out, name)
		}
	}
	return out
}

// links maps kernel names to the names in one of udev's folders that lead to them, sorted.
func (m machine) links(dir string) map[string][]string {
	out := map[string][]string{}
	for _, link := range m.list(dir) {
		name := m.base(dir + "/" + link)
		if name != "" && inventory.CheckDiskID(link) == nil {
			out[name] = append(out[name], link)
		}
	}
	return out
}

// idOrder is which kind of by-id name a plan uses: what says model and serial comes before bare numbers.
var idOrder = []string{"ata-", "nvme-", "virtio-", "scsi-", "usb-", "mmc-", "wwn-"}

// pickID chooses the stable name among a disk's by-id names: the same ones always give the same answer.
func pickID(names []string) string {
	rank := func(n string) int {
		if strings.HasPrefix(n, "nvme-eui.") || strings.HasPrefix(n, "nvme-nvme.") || strings.HasPrefix(n, "nvme-uuid.") {
			return len(idOrder)
		}
		for i, p := range idOrder {
			if strings.HasPrefix(n, p) {
				return i
			}
		}
		return len(idOrder) + 1
	}
	best := ""
	for _, n := range names {
		if best == "" || rank(n) < rank(best) || rank(n) == rank(best) && n < best {
			best = n
		}
	}
	return best
}

// pickPort chooses one of a disk's by-path names: the shortest, since udev's older forms of a name only add to it
// ("virtio-pci-…", "…-ata-1.0").
func pickPort(names []string) string {
	best := ""
	for _, n := range names {
		if best == "" || len(n) < len(best) || len(n) == len(best) && n < best {
			best = n
		}
	}
	return best
}

// identify reads what the kernel and udev know of a disk, without reading the disk.
func (m machine) identify(name string, ids []string) inventory.Disk {
	dir := "sys/block/" + name
	link, _ := fs.ReadLink(m.fsys, dir)
	udev := m.udev(m.text(dir + "/dev"))
	d := inventory.Disk{
		ID: pickID(ids), ByID: ids, Name: name,
		Serial:    first(udev["ID_SCSI_SERIAL"], udev["ID_SERIAL_SHORT"], m.text(dir+"/serial"), m.text(dir+"/device/serial"), m.vpdSerial(dir), udev["ID_SERIAL"]),
		WWN:       first(udev["ID_WWN"], wwn(first(m.text(dir+"/wwid"), m.text(dir+"/device/wwid")))),
		Model:     first(m.text(dir+"/device/model"), m.text(dir+"/device/name"), strings.ReplaceAll(udev["ID_MODEL"], "_", " ")),
		SizeBytes: m.number(dir+"/size") * 512,
		Transport: transport(name, link),
		Removable: m.text(dir+"/removable") == "1",
		ReadOnly:  m.text(dir+"/ro") == "1",
	}
	d.Type = diskType(d.Transport, first(m.text(dir+"/device/vendor"), d.Model), m.text(dir+"/queue/rotational"))
	return d
}

// first is the first text that is not empty.
func first(s ...string) string {
	for _, t := range s {
		if t != "" {
			return t
		}
	}
	return ""
}

// transport is how the disk is attached, from its name and its place in the device tree.
func transport(name, link string) string {
	switch {
	case strings.HasPrefix(name, "nvme"):
		return "nvme"
	case strings.HasPrefix(name, "mmcblk"):
		return "mmc"
	case strings.HasPrefix(name, "vd"):
		return "virtio"
	case strings.Contains(link, "/usb"):
		return "usb"
	case strings.Contains(link, "/ata"):
		return "sata"
	case strings.Contains(link, "/host"):
		return "scsi"
	}
	return ""
}

// diskType tells ssd, hdd and virtual apart; virtual machines' disks say nothing true of rotation.
func diskType(transport, vendor, rotational string) string {
	v := strings.ToUpper(vendor)
	switch {
	case transport == "nvme", transport == "mmc":
		return "ssd"
	case transport == "virtio", strings.HasPrefix(v, "QEMU"), strings.HasPrefix(v, "VBOX"), strings.HasPrefix(v, "VMWARE"), strings.HasPrefix(v, "MSFT"):
		return "virtual"
	case rotational == "1":
		return "hdd"
	}
	return "ssd"
}

// wwn brings the kernel's wwid ("naa.5000c500…", "eui.0025…") into the form that udev uses.
func wwn(wwid string) string {
	kind, num, ok := strings.Cut(wwid, ".")
	switch {
	case ok && kind == "naa":
		return "0x" + num
	case ok && kind == "eui":
		return wwid
	}
	return ""
}

// vpdSerial is the unit serial number page of SCSI (SPC-4 §7.8.15): four bytes of header, then text.
func (m machine) vpdSerial(dir string) string {
	f, err := m.fsys.Open(dir + "/device/vpd_pg80")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil || len(b) <= 4 {
		return ""
	}
	return inventory.Clean(string(b[4:]), inventory.MaxFactLen)
}

// udev reads the properties of udev's database for a block device ("8:0"); empty where no udev runs.
func (m machine) udev(dev string) map[string]string {
	out := map[string]string{}
	for l := range strings.Lines(m.text("run/udev/data/b" + dev)) {
		if kv, ok := strings.CutPrefix(strings.TrimSpace(l), "E:"); ok {
			k, v, _ := strings.Cut(kv, "=")
			out[k] = strings.TrimSpace(v)
		}
	}
	return out
}

// bootMounts are where a running stage-0 keeps its medium mounted: nixpkgs' ISO, live-boot, dracut.
var bootMounts = []string{"/", "/iso", "/nix/.ro-store", "/nix/store", "/boot", "/run/live/medium", "/run/initramfs/live", "/cdrom"}

// bootDisks are the kernel names of the disks that stage-0 itself runs from.
func (m machine) bootDisks() []string {
	var out []string
	for l := range strings.Lines(m.text("proc/self/mounts")) {
		f := strings.Fields(l)
		if len(f) < 2 || !strings.HasPrefix(f[0], "/dev/") || !slices.Contains(bootMounts, f[1]) {
			continue
		}
		out = append(out, m.diskOf(path.Base(f[0])))
	}
	return out
}

// diskOf is the disk that a partition is on; a disk is its own.
func (m machine) diskOf(name string) string {
	for _, d := range m.diskNames() {
		if d == name || m.exists("sys/block/"+d+"/"+name) {
			return d
		}
	}
	return name
}
