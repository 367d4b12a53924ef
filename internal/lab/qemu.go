package lab

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Firmware is what a machine starts with.
type Firmware string

// The firmware a machine may have.
const (
	BIOS      Firmware = "bios"       // SeaBIOS and QEMU's stock iPXE option ROM
	UEFI      Firmware = "uefi"       // OVMF with its own PXE client, no option ROM
	UEFIHTTP  Firmware = "uefi-http"  // OVMF with its HTTP Boot client alone
	ARM64     Firmware = "arm64"      // AAVMF with its own PXE client
	ARM64HTTP Firmware = "arm64-http" // AAVMF with its HTTP Boot client alone
)

func (f Firmware) arm() bool  { return f == ARM64 || f == ARM64HTTP }
func (f Firmware) http() bool { return f == UEFIHTTP || f == ARM64HTTP }

// image is the firmware's code and the template of its variables, from Debian's ovmf and qemu-efi-aarch64.
func (f Firmware) image() (code, vars string) {
	switch {
	case f == BIOS:
		return "", ""
	case f.arm():
		return "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"
	}
	return "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
}

// qemuArgs is the command line of a machine whose files are in dir: program first.
func qemuArgs(c MachineConfig, dir string) []string {
	q := []string{"qemu-system-x86_64"}
	if c.Firmware.arm() {
		q = []string{"qemu-system-aarch64"}
	}
	q = append(q, "-name", c.Name, "-nodefaults", "-no-user-config", "-display", "none",
		"-m", fmt.Sprint(c.MemoryMiB), "-smp", "1",
		"-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off",
		"-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial",
		"-uuid", c.UUID, "-rtc", "base=utc", "-boot", "strict="+onOff(!c.OwnOrder),
		"-accel", c.Accel,
		"-smbios", "type=1,manufacturer=Hatchery Lab,product="+c.Product+",serial="+c.Serial,
		"-device", "virtio-rng-pci") // edk2 from 2024 on refuses to network without a random source
	switch {
	case c.Firmware.arm():
		q = append(q, "-machine", "virt", "-cpu", "cortex-a57")
	case c.Firmware == BIOS && !c.Screen:
		q = append(q, "-machine", "q35,graphics=off", "-cpu", cpu(c.Accel))
	default:
		q = append(q, "-machine", "q35", "-cpu", cpu(c.Accel))
	}
	if c.Screen {
		q = append(q, "-device", "VGA")
	}
	if code, _ := c.Firmware.image(); code != "" {
		q = append(q, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+code,
			"-drive", "if=pflash,unit=1,format=raw,file="+filepath.Join(dir, "vars.fd"))
	}
	if c.Firmware.http() {
		for _, off := range []string{"IPv4PXE", "IPv6PXE"} {
			q = append(q, "-fw_cfg", "name=opt/org.tianocore/"+off+"Support,string=no")
		}
	}
	nic := "virtio-net-pci,netdev=n0,mac=" + c.MAC
	if !c.NoNetboot && !c.OwnOrder {
		nic += ",bootindex=1"
	}
	if c.Firmware != BIOS || c.NoNetboot {
		nic += ",romfile="
	}
	tap := fmt.Sprintf("tap%d", c.Port)
	if c.Behind {
		tap = "r" + tap
	}
	q = append(q, "-netdev", "tap,id=n0,ifname="+tap+",script=no,downscript=no", "-device", nic)
	if c.CD != "" {
		q = append(q, "-drive", "if=none,id=cd,media=cdrom,readonly=on,format=raw,file="+c.CD, "-device", "ide-cd,bus=ide.2,drive=cd,bootindex=2")
	}
	q = append(q, diskArgs(c.Disks, dir)...)
	if c.OwnOrder {
		for i, a := range q {
			if before, after, ok := strings.Cut(a, ",bootindex="); ok {
				q[i] = before + strings.TrimLeft(after, "0123456789")
			}
		}
	}
	return q
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// cpu is the processor of an x86 machine. QEMU 7.2's emulation of cmpxchg16b outside
// lock-step corrupts the flags of Linux 6.12 (seen with Debian 12's), so it is hidden.
func cpu(accel string) string {
	if strings.HasPrefix(accel, "tcg") {
		return "Nehalem,-cx16"
	}
	return "host"
}

func diskPath(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("disk%d.raw", i)) }

func diskArgs(disks []Disk, dir string) []string {
	var q []string
	have := map[string]bool{}
	controller := func(bus, device string) {
		if !have[bus] {
			q = append(q, "-device", device)
			have[bus] = true
		}
	}
	for i, d := range disks {
		q = append(q, "-drive", fmt.Sprintf("if=none,id=d%d,file=%s,format=raw,cache=unsafe,discard=unmap", i, diskPath(dir, i)))
		id := fmt.Sprintf("drive=d%d", i)
		if !d.Nameless {
			id += ",serial=" + d.Serial
		}
		id += fmt.Sprintf(",bootindex=%d", i+3)
		switch d.Bus {
		case "nvme":
			q = append(q, "-device", "nvme,"+id)
		case "scsi":
			controller("scsi", "virtio-scsi-pci,id=scsi0")
			q = append(q, "-device", "scsi-hd,bus=scsi0.0,"+id)
		case "sata":
			controller("sata", "ahci,id=ahci0")
			q = append(q, "-device", fmt.Sprintf("ide-hd,bus=ahci0.%d,%s", i, id))
		case "usb":
			controller("usb", "qemu-xhci,id=xhci0")
			q = append(q, "-device", "usb-storage,bus=xhci0.0,"+id)
		default:
			q = append(q, "-device", "virtio-blk-pci,"+id)
		}
	}
	return q
}
