package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("HATCHERY_E2E") != "1" {
		t.Skip("needs root and network namespaces: set HATCHERY_E2E=1")
	}
}

// TestNetworkLAN lays a real LAN, uses every part of it but the machines, and
// leaves it behind as a crash would, for the next one to clean up.
func TestNetworkLAN(t *testing.T) {
	needE2E(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l, err := New(Config{Net: netip.MustParsePrefix("10.99.7.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a server on one side is reached from another and through a forwarder", func(t *testing.T) {
		checkReach(ctx, t, l)
	})
	t.Run("the router hands out addresses and its end is noticed", func(t *testing.T) {
		r, err := l.StartRouter(ctx, RouterConfig{BootFile: "snponly.efi", NextServer: l.ApplianceAddr()})
		if err != nil {
			t.Fatal(err)
		}
		r.Kill()
		if r.Err() == nil {
			t.Error("a killed router must not look like one that ended well")
		}
	})
	t.Run("a lab that runs is left alone by another's cleanup", func(t *testing.T) {
		p, err := l.Start(Appliance, nil, "sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		if err := Cleanup(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
			t.Error("the other lab's process was killed")
		default:
		}
	})
	t.Run("what a crash leaves is removed by the next start", func(t *testing.T) {
		p, err := l.Start(Appliance, nil, "sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		gone := holdNamespaces(t, l)
		if err := l.lock.Close(); err != nil { // as the kernel does for a dead process
			t.Fatal(err)
		}
		next, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = next.Close() }()
		select {
		case <-p.Done():
		case <-time.After(time.Minute):
			t.Error("a process of the crashed lab lives on")
		}
		if len(next.Name()) > len(l.Name()) || len(next.Name()) == len(l.Name()) && next.Name() > l.Name() {
			// Another program's lab may have begun under the name meanwhile; else it is the first that is free.
			if f, err := tryLock(l.Name()); err != nil || f != nil {
				t.Errorf("name %s, want the crashed lab's %s or one before it, %v", next.Name(), l.Name(), err)
			}
		}
		gone()
		gone = holdNamespaces(t, next)
		if err := next.Close(); err != nil {
			t.Error(err)
		}
		gone()
	})
}

// holdNamespaces keeps the namespaces of a lab known, whatever has their names; gone fails for each that has its name still.
func holdNamespaces(t *testing.T, l *LAN) (gone func()) {
	t.Helper()
	held := map[string]os.FileInfo{}
	for _, s := range sides {
		f, err := os.Open(nsPath(l.ns(s))) // while it is open the kernel gives its inode to no other
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		if held[f.Name()], err = f.Stat(); err != nil {
			t.Fatal(err)
		}
	}
	if len(held) < 3 {
		t.Fatalf("the lab has %d namespaces", len(held))
	}
	return func() {
		t.Helper()
		for path, was := range held {
			if now, err := os.Stat(path); err == nil && os.SameFile(was, now) {
				t.Errorf("namespace %s is still there", path)
			}
		}
	}
}

func checkReach(ctx context.Context, t *testing.T, l *LAN) {
	t.Helper()
	var ln net.Listener
	target := l.ApplianceAddr().String() + ":7777"
	err := inside(nsPath(l.ns(Appliance)), func() (err error) {
		ln, err = net.Listen("tcp", target)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	read := func(c net.Conn, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	if got := read(l.Dial(ctx, Router, "tcp", target)); got != "hello" {
		t.Errorf("from the router: got %q", got)
	}
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Forward(fctx, host, Appliance, target) }()
	if got := read(net.Dial("tcp", host.Addr().String())); got != "hello" {
		t.Errorf("through the forwarder: got %q", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRouterConf(t *testing.T) {
	t.Parallel()
	l := &LAN{cfg: Config{Net: netip.MustParsePrefix("10.83.0.0/24")}, dir: "/d"}
	got := l.routerConf(RouterConfig{BootFile: "snponly.efi", NextServer: l.ApplianceAddr()})
	for _, want := range []string{"dhcp-range=10.83.0.100,10.83.0.250,255.255.255.0,1h\n", "dhcp-boot=snponly.efi,,10.83.0.2\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in:\n%s", want, got)
		}
	}
	if got := l.routerConf(RouterConfig{}); strings.Contains(got, "dhcp-boot") {
		t.Errorf("a plain router must say nothing of netboot:\n%s", got)
	}
}

func TestWatcher(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := newWatcher(&out, "ready now")
	for _, s := range []string{"not rea", "dy yet, re", "ady now", " and on"} {
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-w.seen:
	default:
		t.Error("a text that came in pieces was missed")
	}
	if d := cmp.Diff("not ready yet, ready now and on", out.String()); d != "" {
		t.Errorf("passed on (-want +got):\n%s", d)
	}
}

func TestQemuArgs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  MachineConfig
		want []string
		not  []string
	}{
		{"BIOS boots by the stock ROM, network first", MachineConfig{Name: "m0", Port: 3, Disks: []Disk{{Serial: "A-1"}}},
			[]string{"qemu-system-x86_64 ", "virtio-net-pci,netdev=n0,mac=52:54:00:6c:61:03,bootindex=1", "ifname=tap3,", "virtio-blk-pci,drive=d0,serial=A-1,bootindex=3", "serial=SN-m0"},
			[]string{"pflash", "romfile="}},
		{"a machine behind the router has a port there", MachineConfig{Name: "m5", Port: 1, Behind: true}, []string{"ifname=rtap1,"}, nil},
		{"UEFI boots by its own client without a ROM", MachineConfig{Name: "m1", Firmware: UEFI},
			[]string{"OVMF_CODE_4M.fd", "file=/d/vars.fd", "bootindex=1,romfile="}, []string{"fw_cfg"}},
		{"HTTP Boot switches PXE off", MachineConfig{Name: "m2", Firmware: UEFIHTTP}, []string{"IPv4PXESupport,string=no"}, nil},
		{"an ARM machine is emulated by another program", MachineConfig{Name: "m3", Firmware: ARM64},
			[]string{"qemu-system-aarch64 ", "AAVMF_CODE.fd", "-m 1024 "}, []string{"q35"}},
		{"two disks of one bus share a controller", MachineConfig{Name: "m4", Disks: []Disk{{Bus: "scsi"}, {Bus: "scsi"}}},
			[]string{"virtio-scsi-pci,id=scsi0", "scsi-hd,bus=scsi0.0,drive=d1,serial=LAB-SCSI-1,bootindex=4"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(qemuArgs(tt.cfg.withDefaults(), "/d"), " ") + " "
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %q in: %s", w, got)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(got, w) {
					t.Errorf("%q in: %s", w, got)
				}
			}
		})
	}
}
