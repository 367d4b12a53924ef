package server

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// TestKilledUnderLoad kills a server with SIGKILL while it answers, again and again, over one
// database: no lease whose ACK left may be missing afterwards, and no address may have been acknowledged to
// two clients.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("HATCHERY_KILL_DIR"); dir != "" {
		answerUntilKilled(t, dir)
		return
	}
	kills := 5
	if os.Getenv("HATCHERY_FULL") == "1" {
		kills = 200
	}
	dir := t.TempDir()
	acked := map[netip.Addr]inventory.MAC{}
	for round := range kills {
		n := killOnce(t, dir, acked)
		db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(dir, "hatchery.db")})
		if err != nil {
			t.Fatalf("kill %d: %v", round, err)
		}
		stored := map[netip.Addr]inventory.MAC{}
		leases, err := db.Leases()
		for _, l := range leases {
			stored[l.IP] = inventory.MAC(l.HW)
		}
		if cerr := db.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		for ip, mac := range acked {
			if stored[ip] != mac {
				t.Fatalf("kill %d: %s was acknowledged to %s; on disk it is %q's", round, ip, mac, stored[ip])
			}
		}
		t.Logf("kill %d after %d ACKs, %d addresses in use", round, n, len(acked))
	}
	if len(acked) < 20 {
		t.Errorf("only %d addresses were given: the load was no load", len(acked))
	}
}

// killOnce runs a server until it has acknowledged something, kills it, and returns how many ACKs left.
func killOnce(t *testing.T, dir string, acked map[netip.Addr]inventory.MAC) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestKilledUnderLoad$")
	cmd.Env = append(os.Environ(), "HATCHERY_KILL_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := rand.IntN(400) + 1 // after so many ACKs
	n := 0
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		var ip, mac string
		if k, _ := fmt.Sscanf(sc.Text(), "ACK %s %s", &ip, &mac); k != 2 {
			continue
		}
		a, m := netip.MustParseAddr(ip), inventory.MAC{}
		if err := m.UnmarshalText([]byte(mac)); err != nil {
			t.Fatal(err)
		}
		if old, dup := acked[a]; dup && old != m {
			t.Errorf("%s was acknowledged to %s and to %s", a, old, m)
		}
		acked[a] = m
		if n++; n == end {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // "signal: killed"
	return n
}

// answerUntilKilled is the child: 16 clients at a time go through DORA, every ACK is a line on stdout,
// written when it would leave on the wire.
func answerUntilKilled(t *testing.T, dir string) {
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(dir, "hatchery.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s, l := benchServer(t, func(c *Config) { c.Store, c.Leases, c.Now, c.LeaseTime = db, db, time.Now, 24*time.Hour })
	var mu sync.Mutex
	s.send = func(_ *link, out []outgoing) {
		mu.Lock()
		defer mu.Unlock()
		for i := range out {
			m, err := dhcpv4.FromBytes(out[i].b)
			if err == nil && m.MessageType() == dhcpv4.MessageTypeAck {
				_, err = fmt.Fprintf(os.Stdout, "ACK %s %s\n", m.YourIPAddr, m.ClientHWAddr)
			}
			out[i].err = err
		}
	}
	go func() {
		if err := s.notes.run(t.Context()); err != nil {
			panic(err)
		}
	}()
	from := arrival{link: l, port: 67, src: netip.MustParseAddrPort("0.0.0.0:68")}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for {
				// New clients, and ones that have a lease already.
				mac := inventory.MAC{2, 0, 0, 0, byte(rand.IntN(120)), byte(rand.IntN(256))}
				handle(s, from, msg(t, dhcpv4.MessageTypeDiscover, mac, pxe(0)))
				s.mu.Lock()
				ip, err := s.segments[0].Pool.Pick([6]byte(mac), netip.Addr{}, time.Now())
				s.mu.Unlock()
				if err == nil {
					handle(s, from, msg(t, dhcpv4.MessageTypeRequest, mac, wants(ip), ours, pxe(0)))
				}
			}
		})
	}
	all.Wait()
}
