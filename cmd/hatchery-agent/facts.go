package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jaypipes/ghw"

	"github.com/staged-hive/hatchery/inventory"
)

// machine is where facts are read from: a root folder with sys, proc, dev and run in it.
type machine struct {
	root string
	fsys fs.FS
	// exec runs a program and returns its output; nil = none are run.
	exec func(ctx context.Context, name string, args ...string) ([]byte, error)
	// addrs are the addresses of an interface in prefix form; nil = not known.
	addrs func(ifname string) []string
}

func newMachine(root string) machine {
	m := machine{root: root, fsys: os.DirFS(root)}
	if filepath.Clean(root) == "/" {
		m.exec, m.addrs = execProgram, interfaceAddrs
	}
	return m
}

// execProgram runs a program for at most 20 s: a dying disk can hold a read for minutes.
func execProgram(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	return cmd.Output()
}

func interfaceAddrs(ifname string) []string {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil
	}
	as, err := ifi.Addrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range as {
		out = append(out, a.String())
	}
	return out
}

// text is a small file's content without surrounding space, "" when it cannot be read.
func (m machine) text(name string) string {
	f, err := m.fsys.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(b), "\x00"))
}

func (m machine) number(name string) uint64 {
	n, err := strconv.ParseUint(m.text(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// base is the last part of where a link leads, "" when it is none.
func (m machine) base(name string) string {
	t, err := fs.ReadLink(m.fsys, name)
	if err != nil {
		return ""
	}
	return path.Base(t)
}

func (m machine) exists(name string) bool {
	_, err := fs.Stat(m.fsys, name)
	return err == nil
}

// list is the sorted names in a folder.
func (m machine) list(dir string) []string {
	es, err := fs.ReadDir(m.fsys, dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range es {
		out = append(out, e.Name())
	}
	slices.Sort(out)
	return out
}

// facts reads everything that a check-in reports.
func (m machine) facts(ctx context.Context, b bootWords) (inventory.Facts, error) {
	f := inventory.Facts{
		Arch: kernelArch(runtime.GOARCH), Firmware: m.firmware(),
		Kernel: m.text("proc/sys/kernel/osrelease"), Stage0: b.Stage0,
		MemoryBytes: memTotal(m.text("proc/meminfo")),
		NICs:        m.nics(), Disks: m.disks(ctx),
	}
	m.system(&f)
	if err := f.Check(); err != nil {
		return f, fmt.Errorf("this machine's facts: %w", err)
	}
	return f, nil
}

// firmware is "uefi" where the kernel was started by it, else "bios".
func (m machine) firmware() string {
	if m.exists("sys/firmware/efi") {
		return "uefi"
	}
	return "bios"
}

// system reads processor and SMBIOS (or device tree) through ghw.
func (m machine) system(f *inventory.Facts) {
	opts := []any{ghw.WithChroot(m.root), ghw.WithDisableWarnings(), ghw.WithDisableTools()}
	if cpu, err := ghw.CPU(opts...); err == nil {
		f.CPU.Cores, f.CPU.Threads, f.CPU.Sockets = int(cpu.TotalCores), int(cpu.TotalHardwareThreads), len(cpu.Processors)
		if len(cpu.Processors) > 0 {
			f.CPU.Model = known(cpu.Processors[0].Model)
		}
	}
	if p, err := ghw.Product(opts...); err == nil {
		f.UUID, f.Serial, f.Vendor, f.Product = known(p.UUID), known(p.SerialNumber), known(p.Vendor), known(p.Name)
	}
}

// known takes out ghw's word for what it could not read.
func known(s string) string {
	if s == "unknown" {
		return ""
	}
	return s
}

func kernelArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return goarch
}

// memTotal is MemTotal of /proc/meminfo in bytes.
func memTotal(meminfo string) uint64 {
	for l := range strings.Lines(meminfo) {
		f := strings.Fields(l)
		if len(f) >= 2 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseUint(f[1], 10, 54)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

func printFacts(ctx context.Context, out io.Writer, m machine) error {
	f, err := m.facts(ctx, bootWords{})
	if err != nil {
		return err
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(f)
}
