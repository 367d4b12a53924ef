package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/staged-hive/hatchery/internal/lab"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// BenchmarkStartToFirstOffer starts the real program on a site of 10,000 installed hosts with 20 diary lines each, until a
// machine's firmware on the LAN gets its first OFFER. Beside the time it reports the processor's, the program's size, and its resident
// memory (RssAnon, and all with the mapped file) ten seconds later, when nothing happens.
func BenchmarkStartToFirstOffer(b *testing.B) {
	if os.Getenv("HATCHERY_E2E") != "1" {
		b.Skip("needs root and network namespaces: HATCHERY_E2E=1 make bench")
	}
	l, err := lab.New(lab.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	for _, hosts := range []int{0, 10000} {
		b.Run(fmt.Sprintf("%d hosts", hosts), func(b *testing.B) { benchStart(b, l, hosts) })
	}
}

func benchStart(b *testing.B, l *lab.LAN, hosts int) {
	data := b.TempDir()
	fillSite(b, filepath.Join(data, "hatchery.db"), hosts)
	program, err := filepath.Abs(filepath.Join(root, "build", "hatchery"))
	if err != nil {
		b.Fatal(err)
	}
	conn, err := l.ListenUDP(lab.Router, 68)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	var total, onCPU time.Duration
	best := time.Hour // what a neighbour's load did not spoil
	var n int
	for b.Loop() {
		n++
		began := time.Now()
		p, err := l.Start(lab.Appliance, io.Discard, program, "serve", "--data", data, "--interface", "eth0", "--dhcp", "proxy", "--ipxe", filepath.Join(root, "build", "ipxe"))
		if err != nil {
			b.Fatal(err)
		}
		firstOffer(b, l, conn)
		took := time.Since(began)
		total, best = total+took, min(best, took)
		onCPU += processorTime(b, p.PID())
		b.StopTimer()
		if n == 1 {
			time.Sleep(10 * time.Second)
			anon, rss := memory(b, p.PID())
			b.ReportMetric(anon, "MB-idle-own")
			b.ReportMetric(rss, "MB-idle-all")
		}
		if err := p.Stop(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(total.Milliseconds())/float64(n), "ms/first-offer")
	b.ReportMetric(float64(best.Milliseconds()), "ms/best-of-them")
	b.ReportMetric(float64(onCPU.Milliseconds())/float64(n), "cpu-ms/first-offer")
	if st, err := os.Stat(program); err == nil {
		b.ReportMetric(float64(st.Size())/1e6, "MB-binary")
	}
}

// firstOffer asks every two milliseconds until somebody answers, with one transaction id as firmware does when it repeats itself: an OFFER
// that takes longer than that still counts.
func firstOffer(b *testing.B, l *lab.LAN, conn *net.UDPConn) {
	mac := net.HardwareAddr{0x52, 0x54, 0xbe, 0, 0, 1}
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")), dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 16})))
	if err != nil {
		b.Fatal(err)
	}
	last := netip.AddrPortFrom(l.Addr(255), 67) // the network's broadcast address
	buf := make([]byte, 2048)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		if _, err := conn.WriteToUDPAddrPort(m.ToBytes(), last); err != nil {
			b.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Millisecond)); err != nil {
			b.Fatal(err)
		}
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		if r, err := dhcpv4.FromBytes(buf[:n]); err == nil && r.TransactionID == m.TransactionID && r.MessageType() == dhcpv4.MessageTypeOffer {
			return
		}
	}
	b.Fatal("no OFFER within 30 s")
}

// fillSite makes a database with so many installed hosts.
func fillSite(b *testing.B, path string, hosts int) {
	db, err := boltdb.Open(boltdb.Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for from := 0; from < hosts; from += 500 {
		if err := db.Update(func(tx *inventory.Tx) error {
			for i := from; i < from+500; i++ {
				mac := inventory.MAC{0x52, 0x54, 0, byte(i >> 16), byte(i >> 8), byte(i)}
				h := inventory.Host{ID: inventory.HostID(fmt.Sprintf("%016x", i)), MAC: mac, MACs: []inventory.MAC{mac}, Name: fmt.Sprintf("node-%d", i), Role: "worker",
					UUID: fmt.Sprintf("11111111-2222-3333-4444-%012x", i), Serial: fmt.Sprint("SN", i), State: inventory.StateInstalled, EverFlipped: true, LastSeen: now.Add(-24 * time.Hour)}
				if _, err := tx.PutHost(h); err != nil {
					return err
				}
				for range 20 {
					if err := tx.Note(inventory.Entry{Time: now, HostID: h.ID, Kind: "job.step", By: "pipeline", Text: "copying the system: 412 of 900 MB"}); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

// processorTime is what a process's threads used so far, which other programs' load changes little.
func processorTime(b *testing.B, pid int) (sum time.Duration) {
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range all {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // that thread ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(raw), &ns); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// memory is a process's own memory and all that is resident, in MB.
func memory(b *testing.B, pid int) (anon, rss float64) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	kb := func(key string) float64 {
		m := regexp.MustCompile(key + `:\s+(\d+) kB`).FindSubmatch(raw)
		if m == nil {
			b.Fatalf("no %s in\n%s", key, raw)
		}
		n, _ := strconv.ParseFloat(string(m[1]), 64)
		return n * 1024 / 1e6
	}
	return kb("RssAnon"), kb("VmRSS")
}
